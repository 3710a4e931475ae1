"""Ctrl-C and SIGTERM, heard at a moment when stopping is safe.

A KeyboardInterrupt raised wherever Python happens to be may land in a callback that swallows
it, or between two files that belong together. Here a signal only leaves a note.
"""

import signal
from types import FrameType
from typing import Any


class StopRequest:
    """Within its context the first SIGINT or SIGTERM is noted; a second one interrupts at once.

    ``signal`` is the one that was noted, None while there was none.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def obey(self) -> None:
        """Raise KeyboardInterrupt if a signal has come."""
        if self.signal is not None:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
