"""Django sessions as encrypted hashes in Valkey or Redis on Amazon ElastiCache."""

__version__ = "0.1.0"
