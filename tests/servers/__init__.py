"""Real servers for the tests, and the faults that production has.

``valkey``
    `Valkey`: a Valkey, Redis or Sentinel process on a loopback port, to kill, freeze and restart.
``serverless``
    What ElastiCache Serverless refuses, and every server to those who come by its ``url``.
``releases``, ``configuration``, ``process``
    Where the server programs are; what their configuration files say; a child that is not leaked.
``relay``
    `Relay`: a TCP relay in front of a server that delays, cuts, swallows, forges and refuses.
``cluster``, ``network``
    `ValkeyCluster`: primaries and their replicas; `Network`: what lies between them and clients,
    to be cut.
``passage``
    One client's connection through a relay: framing, order of replies, where the faults strike.
``faults``
    What a relay is told to do wrong, as values.
``tape``
    `Tape`: what crossed a relay, counted at the wire.
``tls``
    `ServerIdentity`: a certificate for a relay, and the variants that a client must reject.
``front``
    `ClusterBehindRelays`: a cluster that clients reach through relays only.
``names``
    `Names`: host names that lead where the test says.
``doorman``
    `Doorman`: has a relay admit clients by IAM tokens, whose signatures it computes by itself.
``aws``, ``http``
    `Moto`: a moto server; `Aws`: the way to it.
    `HttpService`: HTTP that the test answers, delays or passes on.
``ports``, ``waiting``
    Ports that stay ours while a server is down; waiting on a condition instead of sleeping.

Everything that runs is a context manager and is stopped by its own handle.
"""
