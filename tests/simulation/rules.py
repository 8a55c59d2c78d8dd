"""What the documentation allows: each rule is one limit, with its sentence.

A rule that is switched off is a promise; a simulation then shows whether the rule is needed.
"""

from __future__ import annotations

RULES = {
    "unnoticed": (
        "For up to one second after the cache was unreachable for one process, or another server "
        "became the cache, the others may go by an older hash: read it, or save behind to it."
    ),
    "waiting in the cache": (
        "What was saved in the cache alone (the database was unavailable, or saves are "
        "write-behind) is lost with the cache until it has been brought into the database."
    ),
    "waiting for days": (
        "The row of an expired session stays for a day, because a save that prolonged the session "
        "may still be waiting in the cache. What has waited for longer may be lost."
    ),
    "waiting out of reach": (
        "While the cache is unreachable, a session that waits in it for the database, or has "
        "expired in the row, or is asked for under a session key which was replaced, may be "
        "unavailable (HTTP 503): nobody can tell what the cache holds."
    ),
    "row alone": (
        "A process that cannot reach the cache reads the row, which lacks what waits in the cache."
    ),
    "cut off crosswise": (
        "While one process cannot reach the cache and another cannot reach the database, neither "
        "learns what the other saved, ended or rotated; the second one goes by the hash that it "
        "finds."
    ),
    "lost with the cache": "The cache engine keeps sessions in the cache alone.",
    "two rotations": "Of two rotations of one session at once, one wins.",
    "an end under an old key": (
        "A logout that belongs to a session key which a rotation has replaced in the meantime ends "
        "nothing."
    ),
    "killed during a logout": (
        "If a process is killed during a logout, which was then never confirmed, the session stays "
        "usable. clearsessions_cache does not find it, and neither does a process that uses "
        "another cache meanwhile when it ends all sessions of the user."
    ),
    "not written there": (
        "While a process of the release before is at work: what is changed here is not written "
        "there, and sessions made here are unknown there."
    ),
    "ended by its id while both are at work": (
        "While a process of the release before is at work: what staff or code ends by a session's "
        "id or user ends here, if it was migrated, and goes on there."
    ),
    "saved there while it was migrated": (
        "What a request of the release before saves is lost if it had read the session before it "
        "was migrated, and saves it afterwards, or while a request here replaces the session key, "
        "or after a process that was killed while it migrated the session. "
        "Under the cache engine, a session that was ended here by its id is then migrated again."
    ),
    "changed back": (
        "What a process of the release before changes and changes back between two loads here is "
        "not noticed."
    ),
    "the whole session is saved there": (
        "Django's engines save the whole session: of two requests there at once, one puts back "
        "what the other changed."
    ),
}
