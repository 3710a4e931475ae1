"""How a command fails: with one sentence and an exit code, and a traceback for whoever asks."""

import os
import signal
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from .processes import is_first

_Command = TypeVar("_Command", bound=Callable[..., int])

# In the environment, not empty: print the traceback as well.
TRACEBACK = "SBO_TRACEBACK"
_FORESEEN = (ValueError, OSError)
_IN_THE_WAY = (FileExistsError, IsADirectoryError, NotADirectoryError)
_OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "Out of memory", "Unable to allocate")


def in_one_sentence(script: str | None = None) -> Callable[[_Command], _Command]:
    """A command that raises nothing: 2 and a sentence on standard error for what it raised.

    Whatever that is: no list of exceptions has them all. Ctrl-C gives 130, and a reader of standard
    output that leaves, as `head` does, 141. The sentence begins with the name of the script, by
    default the one that runs.
    """

    def decorate(command: _Command) -> _Command:
        @wraps(command)
        def run(*args: Any, **kwargs: Any) -> int:
            name = script or Path(sys.argv[0]).name
            with _warnings_in_one_line(name):
                try:
                    return command(*args, **kwargs)
                except KeyboardInterrupt:
                    return 128 + signal.SIGINT
                except BrokenPipeError:
                    return _leave_quietly()
                except Exception as error:
                    return _fail(error, name)

        return run  # type: ignore[return-value]

    return decorate


def _leave_quietly() -> int:
    """What Python has yet to write when it ends goes nowhere: nobody reads it."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE


@contextmanager
def _warnings_in_one_line(script: str) -> Iterator[None]:
    """As errors are printed: without the line of the source that warns."""

    def in_one_line(message: Any, *_: Any, **__: Any) -> str:
        return f"{script}: {' '.join(str(message).split())}\n"

    before = warnings.formatwarning
    warnings.formatwarning = in_one_line
    try:
        yield
    finally:
        warnings.formatwarning = before


def _fail(error: Exception, script: str) -> int:
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    if not isinstance(error, _FORESEEN) or _speaks():
        print(f"{script}: {sentence(error)}", file=sys.stderr)
    return 2


def _speaks() -> bool:
    """Once, not once per process; also where JAX finds no device, and so does not know which."""
    try:
        return is_first()
    except RuntimeError:
        return True


def sentence(error: BaseException) -> str:
    """What is wrong, on one line, and what to do about it."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY):
        return (
            f"expected what fits this machine's memory, got {_short(text) or 'too much'}; try a "
            f"smaller model, batch or length, or fewer inner steps"
        )
    if isinstance(error, OSError) and error.strerror:
        place = f" ({error.filename})" if error.filename else ""
        advice = "; move it away, or choose another place" if isinstance(error, _IN_THE_WAY) else ""
        return f"expected files that can be read and written, got: {error.strerror}{place}{advice}"
    if isinstance(error, _FORESEEN) and text:
        return text
    return (
        f"{type(error).__name__}: {_short(text)}; this is a fault of sbo_jax: please report it "
        f"with the traceback that {TRACEBACK}=1 prints"
    )


def _short(text: str) -> str:
    return textwrap.shorten(text, 200, placeholder="...")
