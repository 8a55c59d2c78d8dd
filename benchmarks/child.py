"""The child processes: each has one engine and does as the parent says, one command at a time."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from typing import Any, Self

from .engines import Engine, Place, set_up
from .scenarios import EVERY_SCENARIO, WARM_UP, Cost, make_data, measure, save_new

#: Operations in a single command at most take far less; a child that takes longer is stuck.
ANSWER_SECONDS = 300.0
END_SECONDS = 10.0
_PROCESSES = multiprocessing.get_context("spawn")


class EngineFailed(Exception):
    """An engine could not be set up, or an operation raised; the text says what."""


class Worker:
    """What a child can be told to do."""

    def __init__(self, store_class: Any) -> None:
        """Take the engine's `SessionStore`."""
        self._store_class = store_class
        self._items: list[Any] = []

    def prepare(self, scenario: str, size: str, count: int) -> None:
        """Make ready, unmeasured, what measure() or run() will need."""
        self._items = EVERY_SCENARIO[scenario].prepare(self._store_class, size, count)

    def measure(self, scenario: str) -> Cost:
        """Do the scenario as often as was prepared; return the cost of one operation."""
        return measure(self._store_class, scenario, self._items)

    def run(self, scenario: str) -> None:
        """Do the scenario as often as was prepared, unmeasured."""
        for number, item in enumerate(self._items):
            EVERY_SCENARIO[scenario].operate(self._store_class, item, number)

    def save(self, size: str, count: int) -> str:
        """Store so many different sessions; return the session key of the last."""
        for number in range(count):
            session_key = save_new(self._store_class, make_data(size, number))
        return session_key


def serve(pipe: Connection, engine: Engine, place: Place) -> None:
    """Set up an engine and obey until the pipe closes; the first answer is the set-up's."""
    try:
        worker = Worker(set_up(engine, place))
        pipe.send((None, None))
        while True:
            method, arguments = pipe.recv()
            pipe.send((None, getattr(worker, method)(*arguments)))
    except (EOFError, KeyboardInterrupt):
        return
    except Exception as error:
        pipe.send((f"{type(error).__name__}: {error}".splitlines()[0], None))


class Child:
    """The parent's handle on a child; leaving its `with` block ends the process."""

    def __init__(self, engine: Engine, place: Place) -> None:
        """Start the process. Raises `EngineFailed` when the engine cannot be set up."""
        self.engine = engine
        self._pipe, theirs = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(target=serve, args=(theirs, engine, place), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self._answer()
        except EngineFailed:
            self.stop()
            raise

    def __enter__(self) -> Self:
        """Return the handle."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """See stop()."""
        self.stop()

    def measure(self, scenario: str, size: str, count: int) -> Cost:
        """Do a scenario `count` times, prepared and warmed up; return the cost of one operation."""
        self.prepare(scenario, size, count + WARM_UP)
        cost: Cost = self._tell("measure", scenario)
        return cost

    def prepare(self, scenario: str, size: str, count: int) -> None:
        """See Worker.prepare()."""
        self._tell("prepare", scenario, size, count)

    def run(self, scenario: str) -> None:
        """See Worker.run()."""
        self._tell("run", scenario)

    def save(self, size: str, count: int) -> str:
        """See Worker.save()."""
        return str(self._tell("save", size, count))

    def stop(self) -> None:
        """End the process; harmless when it has ended."""
        self._pipe.close()
        self._process.join(END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _tell(self, method: str, *arguments: object) -> Any:
        self._pipe.send((method, arguments))
        return self._answer()

    def _answer(self) -> Any:
        if not self._pipe.poll(ANSWER_SECONDS):
            raise EngineFailed(f"{self.engine.name} gave no answer in {ANSWER_SECONDS:.0f} s.")
        try:
            problem, answer = self._pipe.recv()
        except EOFError:
            problem, answer = "the process ended by itself", None
        if problem:
            raise EngineFailed(f"{self.engine.name}: {problem}")
        return answer
