"""Sessions in a real cluster: what holds for one server holds there, and through its faults.

``test_contract``, ``test_merging``, ``test_events``, ``test_indexing``, ``test_living``
    The tests of one server, run against a cluster.
``test_managing``, ``test_overlooking``, ``test_devices``, ``test_login_rules``, ``test_passwords``
    The same of the pages, and of what a login and a new password end.
``test_behind``, ``test_counting``, ``test_migrating``, ``test_purging``, ``test_rekeying``
    The same of the commands.
``test_examining``
    What the doctor says of a cluster.
``test_round_trips``
    How often each node is asked.
``test_benchmark``
    What the benchmark of a cluster counts.
``test_faults``
    Slots that move, nodes that are killed or frozen, slots that nobody serves.
``test_lost_node``
    What staff sees and ends meanwhile.
``test_serverless``
    Whether anything was asked for that ElastiCache Serverless does not offer.
"""
