"""Amazon ElastiCache: its connection factory for django-redis, IAM, and keys wrapped by KMS."""

from .factory import ConnectionFactory

__all__ = ["ConnectionFactory"]
