"""Measure this session engine against its peers: `python -m benchmarks` from the repository root.

`python -m benchmarks.live` has a million live sessions, `python -m benchmarks.cluster` a cluster
beside one server.

A parent process starts one Valkey, one SQLite file per engine and one child process per engine,
and has the children take turns, so that whatever else the machine does meets them all alike.
"""
