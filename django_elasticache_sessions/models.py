"""The database's copy of sessions, for the `cached_db` engine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from django.db import models
from django.utils.translation import gettext_lazy as _

from . import live
from .conf import get_configuration
from .queryset import LiveSessionQuerySet
from .schema import PartialIndex, SidField

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser


class FallbackSessionQuerySet(models.QuerySet["FallbackSession"]):
    """Rows, to be counted and looked through; what changes them is in `rows`."""

    def live(self) -> Self:
        """Return the sessions that have neither ended nor, by this machine's clock, expired."""
        return self.filter(is_ended=False, expires__gt=int(time.time()))

    def for_user(self, user: AbstractBaseUser) -> Self:
        """Return a user's sessions, under whichever of the secret keys they were made."""
        return self.filter(user_tag__in=get_configuration().naming.user_tags(str(user.pk)))


class FallbackSession(models.Model):
    """A session's row: named by its `sid`, its values encoded as they are in the hash.

    An ended session leaves its row, without data, for as long as any copy of it could live.
    `created` is in microseconds, `saved` and `expires` in seconds since the epoch, by the
    database's clock; `version` rises with each change, and `clock` is the stamp of the last one
    (see `stamps`). `removed` has the stamps of removed fields by name, and `cleared` the stamp
    until which all others were removed. `cache_stale` is true where the hash may be older than the
    row, else null.
    """

    # In hexadecimal: some databases' texts do not tell capitals, and MariaDB's uuid takes not all.
    sid = SidField(_("session id"), max_length=32, primary_key=True)
    fields = models.JSONField(_("fields"))
    user_tag = models.CharField(_("user"), max_length=22)
    created = models.BigIntegerField(_("created"))
    saved = models.BigIntegerField(_("saved"))
    expires = models.BigIntegerField(_("expires"))
    version = models.BigIntegerField(_("version"))
    validator = models.CharField(_("hashed session key"), max_length=30)
    clock = models.BigIntegerField(_("last stamp"))
    removed = models.JSONField(_("removed fields"))
    cleared = models.BigIntegerField(_("cleared until"))
    is_ended = models.BooleanField(_("ended"))
    cache_stale = models.BooleanField(_("cache is stale"), null=True)

    objects = FallbackSessionQuerySet.as_manager()

    class Meta:
        verbose_name = _("stored session")
        verbose_name_plural = _("stored sessions")
        indexes = (
            # Also all that is counted: the values beside it make rows wide.
            PartialIndex(
                fields=("expires", "is_ended", "user_tag", "created"),
                name="elasticache_sessions_live",
                where="NOT is_ended",
            ),
            PartialIndex(
                fields=("user_tag", "sid"), name="elasticache_sessions_user", where="NOT is_ended"
            ),
            # The rows of sessions that live and are alike in both homes are in no third index.
            PartialIndex(
                fields=("cache_stale", "is_ended"),
                name="elasticache_sessions_odd",
                where="cache_stale = TRUE OR is_ended",
            ),
        )

    def __str__(self) -> str:
        return self.sid


class CacheServer(models.Model):
    """A primary of the session cache that some process has used, and which one came after it.

    `place` stands for its address and for how keys are named there; `epoch` counts how often it
    became the one in use, and `seen` is when, in seconds since the epoch, it was known to be.
    """

    name = models.CharField(_("name"), max_length=40, primary_key=True)
    place = models.CharField(_("place"), max_length=16)
    epoch = models.BigIntegerField(_("epoch"))
    successor = models.CharField(_("successor"), max_length=40)
    seen = models.BigIntegerField(_("seen"))

    class Meta:
        verbose_name = _("cache server")
        verbose_name_plural = _("cache servers")
        default_permissions = ()

    def __str__(self) -> str:
        return self.name


class LiveSession(models.Model):
    """A session that lives, for the admin. It has no table: see `queryset`.

    Its permissions: to view sessions, to end them (`delete`), and, apart, to see their values.
    """

    session_id = models.CharField(_("session id"), max_length=22, primary_key=True)
    created = models.DateTimeField(_("created"))
    saved = models.DateTimeField(_("last saved"))
    expires = models.DateTimeField(_("expires"))

    objects = LiveSessionQuerySet.as_manager()

    #: What is known of it.
    seen: live.LiveSession
    #: The name of its user, `None` where there is none any more.
    username: str | None
    #: Whether it is that of the request that lists it.
    is_own = False

    class Meta:
        managed = False
        verbose_name = _("live session")
        verbose_name_plural = _("live sessions")
        default_permissions = ("view", "delete")
        permissions = (("view_session_data", _("Can view the values of live sessions")),)

    def __str__(self) -> str:
        return self.session_id

    @classmethod
    def of(cls, session: live.LiveSession, username: str | None) -> Self:
        """Return the instance of a session."""
        instance = cls(
            session_id=session.session_id,
            created=session.created,
            saved=session.saved,
            expires=session.expires,
        )
        instance.seen = session
        instance.username = username
        instance._state.adding = False
        return instance
