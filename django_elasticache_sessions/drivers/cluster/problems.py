"""What keeps a cluster from serving, and what mends it, in words of ours."""

from __future__ import annotations

from typing import Any

from ...exceptions import SessionStoreUnavailable
from ...texts import Text, did_not_serve
from ..replies import ErrorReply, classify
from .topology import Topology

UNCOVERED = did_not_serve(
    Text("no node of its cluster serves some of the slots. Check CLUSTER INFO on the server.")
)
DISPUTED = did_not_serve(
    Text("the nodes of its cluster do not agree on who has a slot. Check CLUSTER NODES on each.")
)
UNNAMED = did_not_serve(
    Text(
        "its cluster leads to a node whose host it does not tell. Set cluster-announce-hostname on "
        "every node, or cluster-preferred-endpoint-type to ip."
    )
)
NO_TOPOLOGY = did_not_serve(
    Text(
        "its answer to CLUSTER SLOTS names no primary. Check CLUSTER INFO on the server; where "
        "cluster-preferred-endpoint-type is hostname, set cluster-announce-hostname on every node."
    )
)


def is_redirection(reply: Any) -> bool:
    """Tell whether a reply leads to another node."""
    return type(reply) is ErrorReply and str(reply).startswith(("MOVED ", "ASK "))


def of_reply(error: ErrorReply) -> SessionStoreUnavailable:
    """Return what an error is about; a redirection is one that could not be followed."""
    return SessionStoreUnavailable(UNNAMED) if is_redirection(error) else classify(error)


def without_owner(topology: Topology | None) -> SessionStoreUnavailable:
    """Return why there is nobody to be asked for a slot."""
    is_unnamed = topology is not None and topology.has_unnamed
    return SessionStoreUnavailable(UNNAMED if is_unnamed else UNCOVERED)
