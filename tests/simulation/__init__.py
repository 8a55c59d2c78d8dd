"""A simulator of several processes over one cache and one database, step by step.

Each operation on sessions is a generator that yields its exchanges. A scheduler decides at every
exchange which process continues, and what becomes of the exchange; a ledger holds each reply
against what was acknowledged before. `python3 -m tests.simulation --help` runs more of it.
"""
