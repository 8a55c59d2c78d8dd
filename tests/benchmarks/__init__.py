"""Smoke tests of the benchmark: no peers, no measurements that matter."""
