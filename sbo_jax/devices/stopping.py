"""Ctrl-C and SIGTERM, heard at a moment when stopping is safe.

A KeyboardInterrupt raised wherever Python happens to be may land in a callback that swallows
it, or between two files that belong together. Here a signal only leaves a note. Several processes
must in addition stop after the same step, or the others wait for the one that left.
"""

import os
import signal
import threading
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils


class StopRequest:
    """Within its context the first SIGINT or SIGTERM is noted; a second one interrupts at once.

    ``signal`` is the one that was noted, None while there was none. Signals come to the main
    thread: in another one, such as a trial of Ray or wandb, this notes none.
    """

    numbers: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in self.numbers:
            self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def obey(self, step: int) -> None:
        """To be called once a step: raises KeyboardInterrupt if a signal has come."""
        del step
        self.obey_between()

    def obey_between(self) -> None:
        """To be called between the batches of an evaluation, as `obey` is between steps."""
        if self.signal is not None:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)


class SharedStopRequest(StopRequest):
    """A signal to any process stops all of them, after a step that JAX's runtime agrees on.

    SIGTERM is the runtime's own; Ctrl-C is handed on to it, and so ends as SIGTERM does.
    """

    numbers = (signal.SIGINT,)

    def obey_between(self) -> None:
        """Nothing: processes agree on a step to stop after, and an evaluation has none."""

    def obey(self, step: int) -> None:
        if multihost_utils.reached_preemption_sync_point(step):
            self.signal = signal.SIGTERM
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        super()._note(number, frame)
        os.kill(os.getpid(), signal.SIGTERM)


class Obedient:
    """A reporter that ends a run after the step at which a stop was requested."""

    def __init__(self, stop: StopRequest):
        self._stop = stop

    def step(self, step: int, loss: float) -> None:
        self._stop.obey(step)

    def epoch(self, report: object) -> None:
        pass


def stop_request() -> StopRequest:
    """The one that fits: for a process alone, or one of several."""
    return StopRequest() if jax.process_count() == 1 else SharedStopRequest()
