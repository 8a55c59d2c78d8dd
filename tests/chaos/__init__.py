"""A site of several processes, while its stores are killed, frozen, replaced and cut off.

``promises``
    The table of what may happen in each fault; it is what the tests assert.
``ledger``, ``visitors``, ``tabs``, ``browser``
    Visitors whose devices have one session in several tabs, and what they were told: every number
    that was acknowledged is looked for in every later answer.
``reckoning``
    What is asked once a fault is over, of each process, of the rows alone and of the cache alone.
``figures``, ``drill``
    Faults one after the other under visitors, counted and judged.
``stages``, ``cache_stages``, ``cluster_stage``, ``nodes``, ``looping``
    The processes, their databases and caches, and a way to each store for each process.
``faults``
    What befalls a stage.
``site``
    What the processes serve.
``plans``, ``running``
    What the test command does, and what ``python3 -m tests.chaos --long --rounds N`` does.
"""
