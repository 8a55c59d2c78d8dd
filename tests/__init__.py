"""The tests. `python3 -m tests` runs them all, on every interpreter this machine has."""
