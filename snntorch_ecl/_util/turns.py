"""One run at a time for what keeps state on itself, so that threads never mix their states."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager, nullcontext

from ..errors import StateError
from .torch_internals import is_compiling


class Turn:
    """Lets one thread at a time run a network, and knows which thread its state belongs to.

    Other threads wait. Steps depend on the state that the step before has left: only the thread
    that reset or ran the network last may take one. Copies and pickles get a turn of their own.

    Example:
        >>> turn = Turn()
        >>> with turn.run():
        ...     pass
        >>> with turn.step():  # goes on from the state of that run
        ...     pass
    """

    def __init__(self) -> None:
        self._lock, self._process = threading.RLock(), os.getpid()
        self._owner: threading.Thread | None = None  # of the state; None: no one has made any yet
        self._running = False

    def __reduce__(self) -> tuple[type[Turn], tuple[()]]:
        return Turn, ()

    def alone(self) -> AbstractContextManager[object]:
        """Wait until no other thread runs, and keep others out."""
        if is_compiling():  # a compiled graph keeps no state while it runs
            return nullcontext()
        if self._process != os.getpid():  # forked: the thread that had the lock is not here
            self.__init__()  # type: ignore[misc]
        return self._lock

    def run(self) -> AbstractContextManager[object]:
        """:meth:`alone`, for a run that begins from a fresh state."""
        return nullcontext() if is_compiling() else _Taken(self, step=False)

    def step(self) -> AbstractContextManager[object]:
        """:meth:`alone`, for a step that goes on from the present state."""
        return nullcontext() if is_compiling() else _Taken(self, step=True)

    def own(self) -> None:
        """Give the state, which was reset, to this thread."""
        with self.alone():
            self._refuse_inside()
            self._owner = threading.current_thread()

    def take(self, *, step: bool) -> None:
        """Begin a run or a step; the lock is held."""
        self._refuse_inside()
        me = threading.current_thread()
        if step and self._owner is not None and self._owner is not me:
            raise StateError(
                f"thread {me.name!r} takes a step, but the network's state belongs to "
                f"{self._owner.name!r}, which has run or reset it since. Call reset() and take "
                "all steps in one thread, or give each thread a copy (copy.deepcopy)"
            )
        self._owner, self._running = me, True

    def release(self) -> None:
        """The run or step is over."""
        self._running = False

    def _refuse_inside(self) -> None:
        """The lock keeps other threads out; this thread could only come from within its run."""
        if self._running:
            raise StateError(
                "the network was called or reset while it runs, by a hook or an observer of its "
                "own; that would overwrite its state. Call a copy (copy.deepcopy) there"
            )


class _Taken:
    """A run or a step; a class, as a generator would take twice as long to enter and leave."""

    def __init__(self, turn: Turn, *, step: bool) -> None:
        self._turn, self._step, self._lock = turn, step, turn.alone()

    def __enter__(self) -> None:
        self._lock.__enter__()
        try:
            self._turn.take(step=self._step)
        except StateError:
            self._lock.__exit__(None, None, None)
            raise

    def __exit__(self, *error: object) -> None:
        self._turn.release()
        self._lock.__exit__(None, None, None)


def turn_of(module: object) -> Turn | None:
    """The turn of a network, compiled or not; None for other modules."""
    turn = getattr(module, "_turn", None)
    return turn if isinstance(turn, Turn) else None
