"""The Django app: registers the system checks and what happens at login."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.utils.translation import gettext_lazy as _


class ElastiCacheSessionsConfig(AppConfig):
    """`INSTALLED_APPS` entry `"django_elasticache_sessions"`."""

    name = "django_elasticache_sessions"
    verbose_name = _("ElastiCache sessions")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register every check (`manage.py check`, some only with `--deploy`)."""
        from . import checks, receivers
        from .database_checks import check_database_timeouts
        from .elasticache import checks as aws_checks

        for check in (*checks.CHECKS, *aws_checks.CHECKS):
            register(check, Tags.caches)
        for check in checks.DATABASE_CHECKS:
            register(check, Tags.database)
        for check in (*checks.DEPLOY_CHECKS, check_database_timeouts):
            register(check, Tags.security, deploy=True)
        receivers.connect()
