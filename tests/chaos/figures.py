"""What came of a fault, in figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from .ledger import Answer, Finding, Wrong
from .promises import Promise

#: Requests that staff make, and who changes a password for everybody.
BY_STAFF = ("end", "end_for_user", "password")
#: Views that are told to fail.
FAILING = ("write_and_fail", "login_and_fail", "end_and_fail")
#: What is no request, takes its time, and is repeated where a store was away.
COMMAND = "command"
COLUMNS = (Wrong.LOST, Wrong.STALE, Wrong.ZOMBIE, Wrong.WRONG_USER, Wrong.SIGNED_OUT, Wrong.UNDONE)


@dataclass
class Figures:
    """Of one fault; shared by all visitors."""

    requests: Counter[str] = field(default_factory=Counter)
    acknowledged: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    #: While the fault was there, and once it was over.
    during: Counter[Wrong] = field(default_factory=Counter)
    afterwards: Counter[Wrong] = field(default_factory=Counter)
    details: list[str] = field(default_factory=list)
    log: str = ""
    traces: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    longest: tuple[float, str] = (0.0, "")
    recovery_seconds: float | None = None
    is_over: bool = False
    #: The fault before, of what is asked when none is there.
    after: str = ""
    #: How many faults these are of.
    times: int = 1

    def count(self, page: str, answer: Answer, seconds: float, *, is_dead: bool) -> None:
        """Take a request; that of a key that is dead, or was replaced on its way, may get a 503.

        A store may be away that alone could tell which key is the newer one.
        """
        self.requests[page] += 1
        if page == COMMAND:
            self.acknowledged[page] += answer.status == 200
            return
        if 200 <= answer.status < 300:
            self.acknowledged[page] += 1
        if answer.status >= 500 and not is_dead and page not in FAILING:
            self.errors[page] += 1
        if not self.is_over:
            self.seconds.append(seconds)
            self.longest = max(self.longest, (seconds, page))

    def found(self, findings: list[Finding], history: Iterable[str] = ()) -> None:
        """Take what is wrong, and what came before."""
        for what, detail in findings:
            self.traces.append("\n".join([f"{what}: {detail}", *history]))
            (self.afterwards if self.is_over else self.during)[what] += 1
            self.details.append(f"{what}{' afterwards' if self.is_over else ''}: {detail}")

    def add(self, other: Figures) -> None:
        """Take the figures of the same fault at another time."""
        for mine, theirs in (
            (self.requests, other.requests),
            (self.acknowledged, other.acknowledged),
            (self.errors, other.errors),
            (self.during, other.during),
            (self.afterwards, other.afterwards),
        ):
            mine.update(theirs)  # type: ignore[arg-type]
        self.times += other.times
        self.seconds += other.seconds
        self.longest = max(self.longest, other.longest)
        if other.recovery_seconds is not None:
            self.recovery_seconds = max(self.recovery_seconds or 0, other.recovery_seconds)

    def wrongs(self, what: Wrong) -> int:
        """Return how often something was wrong, during and afterwards."""
        return self.during[what] + self.afterwards[what]

    @property
    def staff_errors(self) -> int:
        """Requests of staff that were not served."""
        return sum(self.errors[page] for page in BY_STAFF)

    @property
    def visitors_errors(self) -> int:
        """Requests of visitors that were not served."""
        return self.errors.total() - self.staff_errors

    def broken(self, promise: Promise) -> list[str]:
        """Return what was promised and did not come true."""
        broken = [
            f"{what}: {self.during[what]} during, {self.afterwards[what]} afterwards"
            for what in COLUMNS
            if (self.during[what] and what not in promise.during)
            or (self.afterwards[what] and what not in promise.afterwards)
        ]
        if self.visitors_errors and not promise.errors:
            broken.append(f"5xx for visitors: {dict(self.errors)}")
        if self.staff_errors and not (promise.errors or promise.staff_errors):
            broken.append(f"5xx for staff: {dict(self.errors)}")
        if self.longest[0] > promise.longest_seconds:
            broken.append(f"a request of {self.longest[0]:.1f} s ({self.longest[1]})")
        if (self.recovery_seconds or 0) > promise.recovery_seconds:
            broken.append(f"a recovery of {self.recovery_seconds:.1f} s")
        return broken

    def line(self, name: str, promise: Promise) -> str:
        """Return the line of the table; a figure that is allowed is in parentheses."""
        ordered = sorted(self.seconds) or [0.0]
        words = [f"{name:34}{self.times:5}{self.requests.total():9}{self.acknowledged['write']:8}"]
        words += [self._word(what, promise) for what in COLUMNS]
        words.append(_marked(self.visitors_errors, promise.errors, 7))
        words.append(f"{ordered[len(ordered) // 2] * 1000:6.0f} ms{ordered[-1] * 1000:7.0f} ms")
        words.append(f"{promise.longest_seconds:6.1f} s")
        if self.recovery_seconds is not None:
            words.append(f"{self.recovery_seconds:9.1f} s")
        return "".join(words).rstrip()

    def _word(self, what: Wrong, promise: Promise) -> str:
        is_allowed = what in promise.during or what in promise.afterwards
        return _marked(self.wrongs(what), is_allowed, max(len(what) + 3, 7))


def heading(title: str) -> str:
    """Return the first line of the table."""
    columns = "".join(f"{what:>{max(len(what) + 3, 7)}}" for what in COLUMNS)
    figures = f"{'5xx':>7}{'median':>9}{'longest':>10}{'most':>8}{'recovery':>11}"
    return f"{title:34}{'times':>5}{'requests':>9}{'writes':>8}{columns}{figures}"


def _marked(figure: int, is_allowed: bool, width: int) -> str:
    text = f"({figure})" if is_allowed else f"{figure} "
    return f"{text:>{width}}"
