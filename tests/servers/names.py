"""Host names of a test's own, as DNS has them: whom each leads to, and who asked.

with Names() as names:
    names.lead("cache.test", "127.0.0.2")
"""

import socket
from typing import Any, Self


class Names:
    """Answers in place of the resolver, for threads and event loops; other names go on to it.

    ``asked`` has the names in the order of the questions, ``ports`` what was to be connected to.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ports: list[int] = []
        self._addresses: dict[str, str] = {}
        self._resolve = socket.getaddrinfo

    def __enter__(self) -> Self:
        """Begin to answer."""
        self._resolve = socket.getaddrinfo
        socket.getaddrinfo = self._answer
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Leave it to the resolver again."""
        socket.getaddrinfo = self._resolve

    def lead(self, name: str, address: str) -> None:
        """Have a name lead to an address from now on."""
        self._addresses[name] = address

    def lose(self, name: str) -> None:
        """Have a name known to nobody."""
        del self._addresses[name]

    def _answer(self, host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        self.asked.append(name)
        self.ports.append(port)
        return self._resolve(self._addresses.get(name, host), port, *arguments, **options)
