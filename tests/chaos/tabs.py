"""Devices of visitors, and the tabs that use one session at the same time."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from .ledger import ALIVE, DOUBTFUL, Answer, Visit, Wrong
from .visitors import Visitor

#: Between two requests of a tab, as a person takes time; keeps two processors from overload.
PAUSE_SECONDS = (0.01, 0.06)
#: What a tab does, and how often.
HABITS = {
    "write": 50.0,
    "read": 30.0,
    "try_old_key": 6.0,
    "rotate": 5.0,
    "logout": 3.0,
    "end": 2.0,
    "password": 2.0,
    "end_for_user": 1.5,
    "beside": 4.0,
    "command": 0.5,
    "purge": 0.2,
}
#: Those of the package, and Django's, that may run at any time.
COMMANDS = ("clearsessions", "clearsessions_cache", "rekeysessions")
#: What a tab does while another one writes.
CHANGES = ("rotated", "logged_in_anew", "logged_out")


class Tab(threading.Thread):
    """One of several that use a device's session at the same time; writes a number of its own."""

    def __init__(self, device: Device, index: int) -> None:
        name = f"{device.visitor.name} device {device.index} tab {index}"
        super().__init__(name=name, daemon=True)
        self.stopping = threading.Event()
        self.failure: BaseException | None = None
        #: Held while a request is on its way.
        self.acting = threading.Lock()
        self._device = device
        self._visitor = device.visitor
        self._choice = random.Random(name)
        self._key = f"n:{index}"

    def run(self) -> None:
        """Do one thing after the other until told to stop."""
        try:
            while not self.stopping.is_set():
                with self.acting:
                    self._act()
                time.sleep(self._choice.uniform(*PAUSE_SECONDS))
        except BaseException as failure:
            self.failure = failure

    def _act(self) -> None:
        visit = self._device.visit()
        if visit is None:
            return
        with self._visitor.lock:
            is_suspect = visit.number(self._key).is_suspect
        action = self._device.habit(self._choice)
        getattr(self, f"_{'read' if is_suspect and action == 'write' else action}")(visit)

    def _prefix(self) -> str:
        return "atomic/" if self._choice.random() < self._device.atomic_share else ""

    def _read(self, visit: Visit) -> None:
        self._visitor.request("read", visit)

    def _write(
        self, visit: Visit, key: str | None = None, start: threading.Barrier | None = None
    ) -> None:
        key = key or self._key
        with self._visitor.lock:
            number = visit.number(key)
            value = number.next()
        prefix = self._prefix()
        if start:
            start.wait()
        answer = self._visitor.request("write", visit, prefix=prefix, key=key, value=value)
        if answer.status == 200 and answer.user:
            with self._visitor.lock:
                number.acknowledged = value

    def _write_and_fail(self, visit: Visit) -> None:
        with self._visitor.lock:
            value = visit.number(self._key).next(is_undone=True)
        self._visitor.request("write_and_fail", visit, prefix="atomic/", key=self._key, value=value)

    def _try_old_key(self, visit: Visit) -> None:
        with self._visitor.lock:
            dead = [*self._visitor.dead, *((visit, cookie) for cookie in visit.old_cookies)]
        if dead:
            owner, cookie = self._choice.choice(dead)
            self._visitor.request("read", owner, old_cookie=cookie)

    def _login_and_fail(self, visit: Visit) -> None:
        with self._operation(visit) as is_mine:
            if is_mine:
                self._visitor.request("login_and_fail", visit, prefix="atomic/")

    def _end_and_fail(self, visit: Visit) -> None:
        with self._operation(visit) as is_mine:
            if is_mine:
                self._visitor.request("end_and_fail", visit, prefix="atomic/", user=visit.user)

    def _rotate(self, visit: Visit) -> None:
        with self._operation(visit) as is_mine:
            if is_mine:
                self._rotated(visit)

    def _rotated(self, visit: Visit) -> None:
        self._visitor.take_key(visit, self._visitor.request("rotate", visit, prefix=self._prefix()))

    def _logged_in_anew(self, visit: Visit) -> None:
        words = {"user": visit.user, "owner": visit.owner}
        answer = self._visitor.request("login", visit, prefix=self._prefix(), **words)
        self._visitor.take_key(visit, answer)
        if answer.is_known and not answer.user:
            self._visitor.found(
                Wrong.SIGNED_OUT, visit, f"{visit.owner}: status {answer.status} to a login anew"
            )

    def _logout(self, visit: Visit) -> None:
        with self._operation(visit) as is_mine:
            if is_mine:
                self._logged_out(visit)

    def _logged_out(self, visit: Visit) -> None:
        answer = self._visitor.request("logout", visit, prefix=self._prefix())
        self._visitor.take_ends([visit], answer, by="logout", is_done=bool(answer.user))

    def _beside(self, visit: Visit) -> None:
        """Do something to the session at the very moment at which another tab writes."""
        with self._operation(visit) as is_mine:
            if not is_mine:
                return
            start = threading.Barrier(2)
            with ThreadPoolExecutor(1) as pool:
                writing = pool.submit(self._write, visit, "n:beside", start)
                start.wait()
                getattr(self, f"_{self._choice.choice(CHANGES)}")(visit)
                writing.result()

    def _command(self, visit: Visit) -> None:
        """Have a command run that ends nothing."""
        self._visitor.request("command", visit, name=self._choice.choice(COMMANDS))

    def _purge(self, visit: Visit) -> None:
        """Have a command end the user's sessions, but for those that only the cache has."""
        with self._operation(visit) as is_mine, self._visitor.operation_on_all(is_mine):
            if is_mine:
                self._visitor.request("command", visit, name="clearsessions_cache", user=visit.user)
                self._visitor.doubt_all()

    def _end(self, visit: Visit) -> None:
        with self._operation(visit) as is_mine:
            shown = self._visitor.request("read", visit) if is_mine else Answer(0)
            if not (shown.session and shown.user):
                return
            answer = self._visitor.request(
                "end", visit, prefix=self._prefix(), session=shown.session
            )
            self._visitor.take_ends([visit], answer, by="end", is_done=bool(answer.ended))
            if answer.ended == 0 and self._visitor.request("read", visit).user:
                self._visitor.found(
                    Wrong.ZOMBIE, visit, f"{visit.owner}: staff was told it is not there"
                )

    def _password(self, visit: Visit) -> None:
        with self._operation(visit) as is_mine, self._visitor.operation_on_all(is_mine) as began:
            if not is_mine:
                return
            with self._device.others_quiet(self):
                answer = self._visitor.request("password", visit, prefix=self._prefix())
            self._visitor.take_key(visit, answer)
            ended = self._visitor.signed_in_before(began, but=visit)
            self._visitor.take_ends(ended, answer, by="password", is_done=bool(answer.user))
            if answer.status != 200:
                # The new password is there all the same, and no session goes with it.
                self._visitor.doubt_all()

    def _end_for_user(self, visit: Visit) -> None:
        with self._operation(visit) as is_mine, self._visitor.operation_on_all(is_mine) as began:
            if is_mine:
                answer = self._visitor.request(
                    "end_for_user", visit, prefix=self._prefix(), user=visit.user
                )
                ended = self._visitor.signed_in_before(began)
                is_complete = answer.ended is not None
                self._visitor.take_ends(ended, answer, by="end_for_user", is_done=is_complete)
                if not is_complete:
                    # Those that the other store knows have ended.
                    self._visitor.doubt_all()

    @contextmanager
    def _operation(self, visit: Visit) -> Iterator[bool]:
        """Tell whether this tab may change the session's key: no other does, and it is known."""
        visitor = self._visitor
        if not visitor.operating.acquire(blocking=False):
            yield False
            return
        try:
            if visit.state != ALIVE:
                yield False
                return
            with visit.operations:
                yield True
        finally:
            visitor.operating.release()


class Device:
    """A browser: one session at a time, which all its tabs share."""

    def __init__(self, visitor: Visitor, index: int, tabs: int) -> None:
        self.visitor = visitor
        self.index = index
        self.habits = dict(HABITS)
        self.atomic_share = 0.0
        self.tabs = [Tab(self, number) for number in range(tabs)]
        self._visit: Visit | None = None
        self._entering = threading.Lock()

    def habit(self, choice: random.Random) -> str:
        """Return what a tab does next."""
        return choice.choices(list(self.habits), list(self.habits.values()))[0]

    @contextmanager
    def others_quiet(self, tab: Tab) -> Iterator[None]:
        """Have the other tabs do nothing, if they can be had to.

        A request that finds a session with the user's old password has Django flush it, also while
        the request that changes the password is about to put the new one's hash there.
        """
        with ExitStack() as stack:
            for other in self.tabs:
                # Not for ever: whoever has all tabs pause may be waiting for this one.
                if other is not tab and other.acting.acquire(timeout=1):
                    stack.callback(other.acting.release)
            yield

    def visit(self) -> Visit | None:
        """Return the session, and begin one if there is none; `None` while another tab does."""
        visit = self._visit
        if visit is not None and visit.state == ALIVE and visit.is_signed_in:
            return visit
        if not self._entering.acquire(blocking=False):
            return None
        try:
            return self._entered()
        finally:
            self._entering.release()

    def _entered(self) -> Visit | None:
        visit = self._visit
        if visit is not None and visit.is_signed_in and visit.state == DOUBTFUL:
            # As likely as not it goes on: a visitor tries once more before signing in again.
            answer = self.visitor.request("read", visit)
            if answer.user == visit.user and random.random() < 0.5:
                return visit
        self._visit = None
        visit = self.visitor.new_visit()
        answer = self.visitor.request("enter", visit, owner=visit.owner)
        if answer.status == 200 and answer.cookie:
            visit.cookie = answer.cookie
            before = visit.number("n:before")
            before.tried = before.acknowledged = 1
            self._log_in(visit)
        return None

    def _log_in(self, visit: Visit) -> None:
        began = time.monotonic()
        answer = self.visitor.request("login", visit, user=visit.user, owner=visit.owner)
        with self.visitor.lock:
            if answer.status == 200 and answer.cookie:
                self._signed_in(visit, answer)
            elif answer.is_known and not visit.is_changing_since(began):
                self.visitor.found(
                    Wrong.SIGNED_OUT, visit, f"{visit.owner}: status {answer.status} to a login"
                )

    def _signed_in(self, visit: Visit, answer: Answer) -> None:
        if answer.owner != visit.owner:
            self.visitor.found(
                Wrong.SIGNED_OUT, visit, f"{visit.owner}: anonymous, gone at the login"
            )
            visit.number("n:before").acknowledged = 0
        else:
            visit.rotated(answer.cookie)
        visit.cookie = answer.cookie or visit.cookie
        visit.is_signed_in, visit.signed_in_at = True, time.monotonic()
        self._visit = visit
