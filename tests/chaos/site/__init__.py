"""A site that is nothing but sessions: it says what it finds in one, and does what it is told.

``settings``, ``clock``
    Where the stores are, from the environment; a clock that is ahead or behind.
``views``, ``async_views``, ``answers``
    The same pages, sync and async, and what both answer with.
``rows``
    What a process finds that reaches no cache.
``middleware``
    Our middleware, which also says in the log why it answers 503.
``staging``
    What has to be in the databases before the first process starts.
"""
