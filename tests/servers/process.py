"""A child process that never outlives its owner unnoticed."""

import atexit
import os
import signal
import subprocess
import weakref
from collections.abc import Sequence

END_SECONDS = 5.0

_alive: "weakref.WeakSet[Process]" = weakref.WeakSet()


class Process:
    """A quiet child process, from its making to end() or kill()."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._owner_pid = os.getpid()
        self._child = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _alive.add(self)

    @property
    def running(self) -> bool:
        """Whether it is alive; a frozen one is."""
        return self._child.poll() is None

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    @property
    def is_ours(self) -> bool:
        """Whether it is a child of this very process: a fork inherits the handle, not the child."""
        return self._owner_pid == os.getpid()

    def end(self) -> None:
        """Ask it to end, insist after a while; a frozen one is thawed, or it would not hear."""
        if not self.running:
            return
        self.thaw()
        self._child.terminate()
        try:
            self._child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once with SIGKILL."""
        self._child.kill()
        self._child.wait()

    def freeze(self) -> None:
        """Stop it from running (SIGSTOP), and return once it has stopped."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def thaw(self) -> None:
        """Let it run on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)


@atexit.register
def _kill_leaked() -> None:
    for process in list(_alive):
        if process.is_ours:
            process.kill()
