"""Visitors with a ledger: what they were told, and what must therefore be so."""

from __future__ import annotations

import http.client
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode

PRODUCTS = range(1, 6)
ANSWER_SECONDS = 15.0
#: Between two requests of a shopper, as a person takes time; keeps two processors from overload.
PAUSE_SECONDS = 0.02
CSRF_TOKEN = "0" * 32
FORM = {"Content-Type": "application/x-www-form-urlencoded", "X-CSRFToken": CSRF_TOKEN}
PASSWORD = "leaf-and-kettle"


@dataclass
class Ledger:
    """What went wrong in a phase, and how long its requests took; shared by all shoppers."""

    requests: int = 0
    writes: int = 0
    wrongs: Counter[str] = field(default_factory=Counter)
    details: list[str] = field(default_factory=list)
    server_errors: int = 0
    seconds: list[float] = field(default_factory=list)
    #: Of a session that is not in the cache nobody knows anything without the database.
    has_database: bool = True


@dataclass(frozen=True)
class Answer:
    """A page, or what came instead: status 0 when the connection broke."""

    status: int
    text: str = ""
    cookie: str | None = None


class Shopper(threading.Thread):
    """One visitor, who does one thing after the other until told to stop."""

    def __init__(self, port: int, name: str, ledger: Callable[[], Ledger]) -> None:
        """Take the shop's port, a user's name, and where to write down."""
        super().__init__(name=f"shopper {name}", daemon=True)
        self.user = name
        self.stopping = threading.Event()
        self.failure: BaseException | None = None
        #: Held while a request is on its way.
        self.acting = threading.Lock()
        self._port = port
        self._ledger = ledger
        self._choice = random.Random(name)
        self._cookie = ""
        #: What each product's count may be: several, after an answer that never came.
        self._cart: dict[int, set[int]] = {}
        self._dead: list[str] = []

    def run(self) -> None:
        """Shop."""
        try:
            while not self.stopping.is_set():
                with self.acting:
                    self._act()
                time.sleep(PAUSE_SECONDS)
        except BaseException as failure:
            self.failure = failure

    def settle(self) -> None:
        """Check everything once more, when all is well again."""
        if self._cookie:
            self._read()
        for cookie in self._dead:
            self._visit_with_dead_cookie(cookie)

    def _act(self) -> None:
        if not self._cookie:
            self._log_in()
            return
        chance = self._choice.random()
        if chance < 0.55:
            self._change()
        elif chance < 0.93:
            self._read()
        elif chance < 0.97:
            self._log_out()
        elif self._dead and self._ledger().has_database:
            self._visit_with_dead_cookie(self._dead[-1])

    def _log_in(self) -> None:
        answer = self._ask(
            "POST", "/login/", {"username": self.user, "password": PASSWORD, "next": "/"}
        )
        if answer.status == 302 and answer.cookie:
            self._cookie, self._cart = answer.cookie, {product: {0} for product in PRODUCTS}
            self._ledger().writes += 1

    def _change(self) -> None:
        product, count = self._choice.choice(PRODUCTS), self._choice.randint(1, 99)
        answer = self._ask("POST", f"/cart/{product}/", {"count": count})
        if answer.status == 302:
            self._cart[product] = {count}
            self._ledger().writes += 1
        else:
            self._cart[product].add(count)
            self._expect_server_error(answer, "a change")

    def _read(self) -> None:
        answer = self._ask("GET", "/cart/")
        if answer.status != 200:
            self._expect_server_error(answer, "a cart")
            return
        user = re.search(r"Log out (\w+)", answer.text)
        if user is None:
            self._wrong("logged out wrongly", "")
            self._cookie = ""
        elif user[1] != self.user:
            self._wrong("another's page", f"{user[1]} for {self.user}")
        else:
            self._check_cart(answer.text)

    def _check_cart(self, text: str) -> None:
        found = re.findall(r'id="count-(\d+)"[^>]*value="(\d+)"', text)
        counts = {int(product): int(count) for product, count in found}
        for product, allowed in self._cart.items():
            if counts.get(product, 0) not in allowed:
                self._wrong("lost write", f"{counts.get(product, 0)} not in {allowed}")
                self._cart[product] = {counts.get(product, 0)}

    def _log_out(self) -> None:
        answer = self._ask("POST", "/logout/", {})
        if answer.status == 302:
            self._dead.append(self._cookie)
            self._ledger().writes += 1
        else:
            self._expect_server_error(answer, "a logout")
        # After a failure nobody knows; a new visit begins.
        self._cookie = ""

    def _visit_with_dead_cookie(self, cookie: str) -> None:
        answer = self._ask("GET", "/cart/", cookie=cookie, may_delete=True)
        if "Log out" in answer.text:
            self._wrong("zombie", f"{self.user} is signed in again")

    def _expect_server_error(self, answer: Answer, what: str) -> None:
        if answer.status not in (0, 500, 503):
            self._wrong(f"status {answer.status}", f"to {what}")
            if answer.status == 400:
                # The session was said to have ended.
                self._wrong("logged out wrongly", "by a 400")
                self._cookie = ""

    def _ask(
        self,
        method: str,
        path: str,
        form: dict[str, object] | None = None,
        *,
        cookie: str | None = None,
        may_delete: bool = False,
    ) -> Answer:
        ledger, began = self._ledger(), time.monotonic()
        sent = self._cookie if cookie is None else cookie
        cookies = [f"shop_csrf={CSRF_TOKEN}", *([f"shop_session={sent}"] if sent else [])]
        headers = {"Cookie": "; ".join(cookies)}
        body = None if form is None else urlencode(form)
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_SECONDS)
        try:
            connection.request(method, path, body, headers | (FORM if form is not None else {}))
            response = connection.getresponse()
            answer = Answer(response.status, response.read().decode(), _cookie_of(response))
        except (OSError, http.client.HTTPException):
            answer = Answer(0)
        finally:
            connection.close()
        ledger.requests += 1
        ledger.seconds.append(time.monotonic() - began)
        if answer.status >= 500:
            ledger.server_errors += 1
        if answer.cookie == "" and path != "/logout/" and not may_delete:
            self._wrong("cookie deleted", f"by {method} {path}")
        return answer

    def _wrong(self, what: str, detail: str) -> None:
        ledger = self._ledger()
        ledger.wrongs[what] += 1
        ledger.details.append(f"{what}: {detail}")


def _cookie_of(response: http.client.HTTPResponse) -> str | None:
    """Return the session cookie that an answer sets, empty when it deletes it."""
    found = re.search(r'shop_session="?(\w*)', response.getheader("Set-Cookie") or "")
    return found[1] if found else None
