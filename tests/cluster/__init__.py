"""Sessions in a real cluster: what holds for one server holds there, and through its faults.

``test_contract``, ``test_merging``, ``test_living``, ``test_purging``, ``test_rekeying``
    The tests of one server, run against a cluster.
``test_faults``
    Slots that move, nodes that are killed or frozen, slots that nobody serves.
``test_serverless``
    Under a user that may not do what ElastiCache Serverless does not offer.
"""
