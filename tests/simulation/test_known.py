"""Orders of steps that once broke a promise, each by name: the shortest that were found."""

from __future__ import annotations

import pytest

from .running import run
from .schedule import Fault, Op, Schedule, Switch
from .stage import Stage

KNOWN = {
    "a hand-over that is delayed brings back an older value": Schedule(
        actors=((Op("save"), Op("save", 0, "b")), (Op("save"),)),
        switches=(Switch((0, 1, 3), 1),),
        faults=(
            Fault((0, 0, 0), "database away", 0),
            Fault((0, 1, 0), "database back", 0),
            Fault((0, 1, 0), "jump", 3),
        ),
    ),
    "what waits in the cache replaces what the database was told later": Schedule(
        actors=((Op("save"), Op("save")),),
        faults=(Fault((0, 1, 0), "cache away", 0),),
        writes="behind",
    ),
    "a save between a rotation's reading and writing is lost": Schedule(
        actors=((Op("login", 0, "b"), Op("load")), (Op("save"),)),
        switches=(Switch((0, 0, 4), 1),),
        writes="behind",
    ),
    "a rotation that tries often enough leaves out a save": Schedule(
        actors=((Op("load"), Op("save")), (Op("login", 0, "b"),)),
        switches=(Switch((0, 1, 2), 1),),
    ),
    "a save after a rotation that only the cache knows finds no row": Schedule(
        actors=((Op("login", 1),),),
        faults=(Fault((0, 0, 2), "refused"), Fault((0, 0, 3), "slow", 600)),
    ),
    "clearsessions while the cache is away makes a logout undone": Schedule(
        actors=((Op("load"),), (Op("logout"), Op("prune"))),
        faults=(Fault((1, 0, 2), "cache away"), Fault((1, 1, 0), "jump", 4000)),
    ),
    "a snapshot from before a logout brings the session back": Schedule(
        actors=((Op("save"), Op("synchronize"), Op("logout"), Op("prune"), Op("load")),),
        faults=(
            Fault((0, 1, 0), "snapshot"),
            Fault((0, 3, 0), "jump", 4000),
            Fault((0, 4, 0), "restore"),
        ),
        writes="behind",
    ),
    "a logout on the old primary is not one on the new": Schedule(
        actors=((Op("load"), Op("logout")), (Op("load"), Op("load"))),
        switches=(Switch((0, 1, 0), 1), Switch((1, 1, 0), 0)),
        faults=(Fault((0, 1, 0), "split", 0), Fault((1, 1, 0), "jump", 3)),
    ),
    "end_for_user misses a session that only the cache has": Schedule(
        actors=((Op("login"),), (Op("end for user"),)),
        faults=(Fault((0, 0, 0), "database away", 0),),
    ),
    "end_for_user misses a session that is being rotated": Schedule(
        actors=((Op("end for user"), Op("load", 0, "b")), (Op("login", 0, "b"),)),
        switches=(Switch((0, 0, 2), 1),),
    ),
    "a hand-over inside a transaction that rolls back is lost": Schedule(
        actors=((Op("save"), Op("begin"), Op("login"), Op("rollback")),),
        writes="behind",
    ),
    "nobody can log in while the cache is away": Schedule(
        actors=((Op("login"),),),
        faults=(Fault((0, 0, 0), "cache away", 0),),
        writes="behind",
    ),
    "the cache keeps what the database rolled back": Schedule(
        actors=((Op("begin"), Op("save"), Op("rollback"), Op("load")),),
    ),
    "the cache shows what the database has not committed": Schedule(
        actors=((Op("begin"), Op("save", 1), Op("commit")), (Op("load", 1),)),
        switches=(Switch((0, 2, 0), 1),),
    ),
    "a session is alive though its login was rolled back": Schedule(
        actors=((Op("begin"), Op("login", 1), Op("rollback")),),
    ),
    "a save to the cache engine arrives after a later one": Schedule(
        actors=((Op("save", 1),), (Op("save", 1),)),
        faults=(Fault((0, 0, 1), "held", 1),),
        engine="cache",
    ),
    "a logout under an old key hides the session from its user": Schedule(
        actors=((Op("load", 1), Op("end for user", 1)), (Op("rotate"),), (Op("logout"),)),
        switches=(
            Switch((0, 0, 0), 1),
            Switch((1, 0, 0), 2),
            Switch((2, 0, 1), 1),
            Switch((0, 1, 0), 2),
        ),
        engine="cache",
    ),
    "a commit's hooks are kept from the cache by a statement that fails": Schedule(
        actors=((Op("save", 1),), (Op("begin"), Op("end both"), Op("commit"))),
        switches=(Switch((0, 0, 2), 1),),
        faults=(Fault((1, 2, 2), "lost"),),
        writes="behind",
    ),
    "a stamp that is ahead of its time is newer than a later save": Schedule(
        actors=((Op("save"), Op("save")), (Op("save", 0, "b"),)),
        switches=(Switch((0, 0, 3), 1),),
        faults=(Fault((0, 1, 0), "refused"),),
        writes="behind",
    ),
    "a rotation that does not know of a logout makes it undone": Schedule(
        actors=(
            (Op("load"), Op("login"), Op("logout")),
            (Op("load"), Op("commit"), Op("rotate", 0, "b")),
        ),
        switches=(Switch((0, 1, 3), 1), Switch((1, 1, 0), 0)),
        faults=(Fault((1, 0, 0), "cache away", 1), Fault((1, 0, 3), "database away", 0)),
    ),
    "of two rotations out of each other's sight one wins": Schedule(
        actors=((Op("save", 1), Op("login", 1)), (Op("save", 1),), (Op("rotate", 1),)),
        switches=(Switch((0, 0, 0), 1), Switch((0, 1, 0), 2), Switch((2, 0, 2), 0)),
        faults=(Fault((1, 0, 3), "refused"), Fault((2, 0, 1), "lost")),
        processes=(0, 0, 1),
        writes="behind",
    ),
    "of a rotation beside one in the cache alone the save is refused": Schedule(
        actors=((Op("rotate"),), (Op("login"), Op("save")), (Op("load"),)),
        switches=(Switch((0, 0, 4), 1), Switch((1, 1, 1), 2)),
        faults=(Fault((1, 0, 0), "refused"),),
    ),
    "a rotation in a transaction loses against one beside its commit": Schedule(
        actors=((Op("begin"), Op("login"), Op("commit")), (Op("login"),)),
        switches=(Switch((0, 2, 2), 1),),
        faults=(Fault((0, 1, 6), "jump", 1), Fault((1, 0, 2), "refused")),
        processes=(0, 0),
        writes="behind",
    ),
    "an end of many misses a session that is being handed over": Schedule(
        actors=((Op("create"), Op("login")), (Op("end for user"),), (Op("load"),)),
        switches=(Switch((1, 0, 9), 2),),
        faults=(Fault((0, 0, 0), "database away", 0),),
    ),
    "an end at the old primary is noticed at the new one within a second": Schedule(
        actors=(
            (Op("save", 0, "b"),),
            (Op("create", 0, "b"), Op("end for user"), Op("load")),
            (Op("end both", 1, "b"),),
        ),
        switches=(Switch((1, 1, 4), 2),),
        faults=(Fault((0, 0, 3), "split", 2), Fault((1, 0, 0), "jump", 4000)),
    ),
    "a logout under an old key takes the place of another one's tombstone": Schedule(
        actors=((Op("logout"),), (Op("rotate"), Op("logout"))),
        switches=(Switch((0, 0, 3), 1),),
        faults=(Fault((1, 1, 0), "database away"),),
    ),
    "a logout under an old key takes the place of staff's tombstone": Schedule(
        actors=((Op("end"),), (Op("rotate"),), (Op("logout"),)),
        switches=(Switch((0, 0, 0), 2), Switch((2, 0, 3), 1)),
        faults=(Fault((1, 0, 3), "cache away", 1), Fault((2, 0, 3), "database away", 0)),
        processes=(0, 1, 0),
    ),
    "a second logout under the same key takes the place of the first": Schedule(
        actors=((Op("logout"),), (Op("rotate"),), (Op("logout"),)),
        switches=(Switch((0, 0, 0), 2), Switch((2, 0, 3), 0)),
        faults=(Fault((1, 0, 0), "cache away", 1), Fault((0, 0, 1), "database away", 0)),
        processes=(0, 1, 0),
    ),
    "a logout that finds its row ended does not say that the cache was not told": Schedule(
        actors=((Op("logout"),), (Op("logout"),)),
        switches=(Switch((0, 0, 0), 1), Switch((1, 0, 3), 0)),
        faults=(Fault((0, 0, 3), "killed after"), Fault((1, 0, 3), "cache away", 1)),
    ),
    "a touch in a transaction takes away another's mark": Schedule(
        actors=((Op("load"), Op("begin"), Op("touch"), Op("commit")), (Op("save"),)),
        switches=(Switch((0, 1, 0), 1),),
        faults=(Fault((1, 0, 3), "cache away", 1),),
    ),
    "what drops a tombstone drops a newer one": Schedule(
        actors=((Op("logout"),), (Op("rotate"), Op("load")), (Op("end"),)),
        switches=(Switch((0, 0, 3), 1), Switch((1, 1, 0), 0), Switch((1, 1, 3), 2)),
        faults=(
            Fault((1, 1, 0), "evict", 0),
            Fault((1, 1, 0), "database away", 0),
            Fault((2, 0, 0), "database away", 2),
        ),
    ),
    "a refresh that lost often enough is forced": Schedule(
        actors=((Op("load"),), *((Op("save"),) for _ in range(6)), (Op("save", 0, "b"),)),
        processes=(0,) * 8,
        switches=(
            Switch((0, 0, 0), 1),
            Switch((1, 0, 3), 2),
            *(Switch((number, 0, 1), number + 1) for number in range(2, 7)),
            Switch((7, 0, 1), 1),
            Switch((1, 0, 4), 2),
            *(Switch((0, 0, 3 * number - 1), number + 2) for number in range(1, 6)),
        ),
    ),
    "a session is taken for synchronized while the database is left alone": Schedule(
        actors=((Op("synchronize"), Op("save", 1)), (), (Op("begin"), Op("save", 1))),
        faults=(Fault((0, 0, 2), "refused"), Fault((2, 1, 3), "evict", 1)),
    ),
    "a process without the cache does not see what only the cache has": Schedule(
        actors=((Op("end"), Op("create", 0, "b")), (Op("load"),)),
        faults=(Fault((0, 0, 1), "lost"), Fault((1, 0, 5), "held", 0)),
    ),
    "a save that asks the row just before it is handed over finds nothing": Schedule(
        actors=((Op("create", 1), Op("login", 1)), (Op("synchronize"),)),
        switches=(Switch((0, 1, 6), 1),),
        faults=(
            Fault((0, 0, 0), "database away"),
            Fault((0, 1, 3), "slow", 2500),
            Fault((0, 1, 4), "database back"),
        ),
    ),
    "a rotation is found whose process was killed, and the cache cannot be told": Schedule(
        actors=((Op("login", 1), Op("login", 1, "b")),),
        faults=(Fault((0, 0, 3), "killed after"), Fault((0, 1, 5), "held", 1)),
        writes="behind",
    ),
    "after a rotation that the cache was not told of the save is refused there": Schedule(
        actors=((Op("login", 1),),),
        faults=(
            Fault((0, 0, 4), "refused"),
            Fault((0, 0, 5), "slow", 600),
            Fault((0, 0, 6), "refused"),
        ),
    ),
    "after a rotation that the cache was not told of a logout ends nothing there": Schedule(
        actors=((Op("rotate"), Op("logout")),),
        faults=(
            Fault((0, 0, 4), "cache away"),
            Fault((0, 1, 0), "slow", 600),
            Fault((0, 1, 1), "cache back"),
            Fault((0, 1, 1), "refused"),
        ),
    ),
    "a save at the engine of before is overwritten by the mark there": Schedule(
        actors=((Op("load", 1),), (Op("save", 1),)),
        switches=(Switch((0, 0, 9), 1),),
        previous="db",
        old=(1,),
    ),
    "of two requests that migrate a session at once, one finds nothing": Schedule(
        actors=((Op("load"),), (Op("load"),)),
        switches=(Switch((0, 0, 5), 1),),
        previous="db",
    ),
    "a login at the engine of before takes the mark along": Schedule(
        actors=((Op("load"),), (Op("login"),)),
        previous="db",
        old=(1,),
    ),
    "a session is ended at the engine of before while its change is taken over": Schedule(
        actors=((), (Op("load"), Op("save")), (Op("save"), Op("login"))),
        switches=(Switch((1, 1, 1), 2), Switch((2, 1, 1), 1), Switch((1, 1, 3), 2)),
        engine="cache",
        previous="db",
        old=(2,),
    ),
    "a session that was migrated and ended is migrated again": Schedule(
        actors=((Op("load", 1),), (), (Op("save", 1, "b"), Op("end both", 1))),
        switches=(Switch((0, 0, 2), 2),),
        engine="cache",
        previous="db",
        old=(1,),
    ),
    "a session that is not there for a login goes on at the engine of before": Schedule(
        actors=((Op("rotate", 1),), (Op("end", 1),)),
        switches=(Switch((0, 0, 5), 1),),
        engine="cache",
        previous="db",
    ),
    "two requests take the same change of a migrated session, one of them late": Schedule(
        actors=((Op("save", 0, "b"), Op("save", 0, "b")), (Op("save"),), (Op("save"),)),
        switches=(Switch((0, 0, 3), 1), Switch((0, 0, 6), 2)),
        engine="cache",
        previous="cached_db",
        old=(1,),
    ),
    "syncsessions finds nothing waiting at a server that is the cache no more": Schedule(
        actors=((Op("load"),), (Op("save", 1),), (Op("synchronize", 1), Op("save", 1))),
        faults=(Fault((0, 0, 1), "split", 2),),
        processes=(0, 1, 2),
        writes="behind",
    ),
    "a change of a migrated session is taken while its hash does not show its row": Schedule(
        actors=((Op("save"),), (Op("save"),)),
        faults=(Fault((0, 0, 15), "cancelled after"),),
        previous="db",
        old=(1,),
    ),
    "a migrated session is filled in after its end": Schedule(
        actors=((Op("save"),), (Op("load"), Op("end both"))),
        switches=(Switch((0, 0, 8), 1),),
        processes=(0, 0),
        writes="behind",
        previous="db",
    ),
    "a migrated session is filled in after it was changed": Schedule(
        actors=((Op("load"), Op("load")), (Op("save"),)),
        switches=(Switch((0, 0, 1), 1), Switch((1, 0, 2), 0), Switch((0, 0, 9), 1)),
        faults=(Fault((0, 0, 7), "slow", 2500),),
        processes=(0, 0),
        previous="db",
    ),
    "a session that has expired comes back with a late INSERT": Schedule(
        actors=((Op("purge", 1, "b"), Op("login", 1)), (Op("create", 1, "b"),)),
        switches=(Switch((0, 0, 0), 1), Switch((1, 0, 2), 0), Switch((0, 1, 5), 1)),
        faults=(
            Fault((1, 0, 0), "held", 1),
            Fault((1, 0, 2), "jump", 2_700_000),
            Fault((0, 1, 7), "jump", 1_300_000),
        ),
    ),
    "a process that stood still fills in a session that has expired": Schedule(
        actors=((Op("end for user", 0, "b"), Op("touch")), (Op("create"),)),
        switches=(Switch((0, 0, 4), 1),),
        faults=(Fault((1, 0, 4), "jump", 2_700_000),),
    ),
    "a cache that nobody used for a while is used again as it was": Schedule(
        actors=((), (Op("load", 0, "b"), Op("load")), (Op("save", 0, "b"),)),
        faults=(Fault((1, 0, 2), "move", 1), Fault((2, 0, 1), "jump", 90_000)),
    ),
    "a primary that nobody had met was superseded twice": Schedule(
        actors=((Op("save"),), (Op("end others"), Op("load", 0, "b")), (Op("logout"),)),
        faults=(Fault((0, 0, 3), "split", 0), Fault((1, 0, 2), "split", 1)),
        processes=(0, 0, 1),
        writes="behind",
    ),
    "marks are brought up to date for ever at a cache that was left": Schedule(
        actors=((Op("synchronize"),), (Op("end for user", 1),), (Op("save", 1),)),
        switches=(Switch((0, 0, 1), 1), Switch((1, 0, 4), 2), Switch((2, 0, 4), 0)),
        faults=(Fault((1, 0, 1), "move", 2),),
        writes="behind",
    ),
    "a creation that arrives too late makes a row without life": Schedule(
        actors=((Op("end both", 1, "b"), Op("load", 1)), (Op("login"),)),
        switches=(Switch((0, 0, 7), 1), Switch((1, 0, 7), 0)),
        faults=(Fault((1, 0, 0), "move", 0), Fault((0, 1, 2), "jump", 90_000)),
        processes=(0, 0),
        writes="behind",
    ),
    "a hand-over that arrives too late makes a row without life": Schedule(
        actors=((Op("end"), Op("synchronize", 0, "b")), (), (Op("load"), Op("create"))),
        switches=(Switch((0, 1, 2), 2),),
        faults=(Fault((2, 0, 4), "lost"), Fault((0, 1, 4), "jump", 700_000)),
    ),
    "of two migrations of a session one is held up": Schedule(
        actors=((Op("save"),), (Op("load"),)),
        switches=(Switch((0, 0, 8), 1), Switch((1, 0, 9), 0)),
        faults=(Fault((0, 0, 7), "held", 1),),
        previous="db",
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_order_breaks_no_promise(name, django_db_blocker):
    schedule = KNOWN[name]
    with (
        django_db_blocker.unblock(),
        Stage(engine=schedule.engine, writes=schedule.writes, vendor="sqlite") as stage,
    ):
        outcome = run(stage, schedule)
    assert not outcome.violations, "\n".join([str(outcome.violations[0]), *outcome.log])
