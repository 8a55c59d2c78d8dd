"""One operation under way: whose it is, what it promised, and what it met."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from . import adapter
from .ledger import Ledger, Reading
from .promises import Key, Promise, Renewal, State, Transaction

if TYPE_CHECKING:
    from .schedule import Op
    from .world import Actor, World

P = TypeVar("P", bound=Promise)
Steps = Generator[Any, Any, Any]


@dataclass(eq=False)
class Request:
    """What an actor does for a visitor."""

    world: World
    actor: Actor
    op: Op
    key: Key | None
    began: int = 0
    began_seconds: float = 0.0
    promises: list[Promise] = field(default_factory=list)
    what: str = "save"
    cache_exchanges: int = 0
    #: Of a process of the release before: what it read, when, and whether it was not migrated.
    loaded: dict[str, Any] = field(default_factory=dict)
    loaded_at: int = 0
    is_unmarked: bool = True

    @property
    def ledger(self) -> Ledger:
        """The world's."""
        return self.world.ledger

    @property
    def now(self) -> int:
        """The tick."""
        return self.world.tick

    @property
    def transaction(self) -> Transaction | None:
        """The actor's, if one is open."""
        return self.actor.transaction

    def promise(self, kind: type[P], into: list[Any] | None = None, **values: Any) -> P:
        """Begin something of which the client will be told whether it is done."""
        made = kind(began=self.now, transaction=self.transaction, **values)
        self.promises.append(made)
        if into is not None:
            into.append(made)
        return made

    def renew(self, key: Key) -> None:
        """Begin to put off a session's expiry."""
        renewals = key.session.renewals
        self.promise(Renewal, renewals, seconds=self.world.clock.seconds)

    def acknowledge(self) -> None:
        """Have everything that was begun be done."""
        is_superseded = self.actor.process.server is not self.world.primary
        for promise in self.promises:
            self.ledger.acknowledge(promise, self.now, is_superseded=is_superseded)
            if isinstance(promise, Renewal):
                promise.until_seconds = self.world.clock.seconds

    def give_up(self) -> None:
        """Have everything that was begun be unknown."""
        for promise in self.promises:
            if promise.state is State.RUNNING:
                promise.state, promise.done = State.UNKNOWN, self.now
        key, is_old = self.key, self.actor.process.is_old
        is_first = key is not None and not any(at < self.loaded_at for at, _ in key.visits)
        if key is not None and is_first and self.loaded_at and not is_old:
            key.is_torn = True
            self.lose_unseen(key)

    def lose_unseen(self, key: Key) -> None:
        """Have what a process of the release before did since the session was read be unknown."""
        for writes in key.session.fields.values():
            for write in writes:
                is_unseen = write.is_theirs and write.settled > self.loaded_at
                if is_unseen and self.ledger.allows("saved there while it was migrated"):
                    write.is_doubtful = True

    def mark(self) -> tuple[int, float, int]:
        """Note where a reading begins."""
        return self.now, self.world.clock.seconds, self.cache_exchanges

    def reading(self, mark: tuple[int, float, int]) -> Reading:
        """Return the reading that began at a mark, and ends now."""
        began, seconds, exchanges = mark
        return Reading(
            began=began,
            ended=self.now,
            began_seconds=seconds,
            ended_seconds=self.world.clock.seconds,
            reader=self.actor.index,
            is_row_alone=exchanges == self.cache_exchanges
            or adapter.is_led_astray(self.actor.process),
            is_unnoticed=self.world.is_unnoticed(seconds),
            is_crosswise=self.world.is_crosswise(self.actor),
            is_theirs=self.actor.process.is_old,
        )

    def take_cookie(self, key: Key) -> None:
        """Have the visitor go on under another key, once the response arrives."""
        self.world.give_cookie(self.actor, self.op.visitor, self.key, key)
        self.key = key

    def name_left(self, key: Key, promise: Promise) -> None:
        """Have an end be unknown if the key that it named may have been left for another."""
        may_be_left = any(left.is_possible(self.now, self.actor.index) for left in key.left)
        if may_be_left and self.ledger.allows("an end under an old key"):
            promise.state, promise.done = State.UNKNOWN, self.now
