"""Certificates for a relay, good and bad, from an authority made for the test."""

import datetime
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import trustme

from .ports import LOOPBACK

HERE = ("localhost", LOOPBACK)
#: As those of ElastiCache, which have names with a star.
CLUSTER = ("*.cluster.test",)
ELSEWHERE = ("elsewhere.invalid",)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerIdentity:
    """What a server shows to its clients, and the authority that vouches for it.

    ``ca_file`` is for the client (``ssl_ca_certs``). Every identity has an authority of its own, so
    the file of one is the wrong authority for another.
    """

    context: ssl.SSLContext
    ca_file: Path

    @classmethod
    def valid(cls, directory: Path) -> Self:
        """Return an identity for localhost and 127.0.0.1; its authority's file is in directory."""
        return cls._issued(HERE, ca_file=directory / "valid-ca.pem")

    @classmethod
    def of_a_cluster(cls, directory: Path) -> Self:
        """Return an identity for every node of the domain ``cluster.test``."""
        return cls._issued(CLUSTER, ca_file=directory / "cluster-ca.pem")

    @classmethod
    def for_another_host(cls, directory: Path) -> Self:
        """Return an identity whose certificate names a host that this is not."""
        return cls._issued(ELSEWHERE, ca_file=directory / "another-host-ca.pem")

    @classmethod
    def expired(cls, directory: Path, names: Sequence[str] = HERE) -> Self:
        """Return an identity for this host whose certificate ended yesterday."""
        yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        return cls._issued(names, ca_file=directory / "expired-ca.pem", not_after=yesterday)

    @classmethod
    def not_yet_valid(cls, directory: Path, names: Sequence[str] = HERE) -> Self:
        """Return an identity for this host whose certificate begins tomorrow."""
        tomorrow = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
        return cls._issued(names, ca_file=directory / "future-ca.pem", not_before=tomorrow)

    @classmethod
    def _issued(
        cls,
        names: tuple[str, ...],
        *,
        ca_file: Path,
        not_after: datetime.datetime | None = None,
        not_before: datetime.datetime | None = None,
    ) -> Self:
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf = authority.issue_cert(*names, not_after=not_after, not_before=not_before)
        leaf.configure_cert(context)
        authority.cert_pem.write_to_path(str(ca_file))
        return cls(context=context, ca_file=ca_file)
