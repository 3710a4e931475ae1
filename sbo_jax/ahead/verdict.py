"""Compile a program for a machine that is not here, and judge what came out."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax

from ..devices.compilation_cache import nothing_kept
from .hlo import Meeting, Structure, structure
from .machines import Machine
from .programs import Meetings, Program

_PARTS = ("argument", "output", "temp", "generated_code")
_TOO_LARGE = "RESOURCE_EXHAUSTED"


class Part(NamedTuple):
    """Arrays of one part of the arguments: how many, their bytes, whether every device has all."""

    num_arrays: int
    num_bytes: int
    replicated: bool


class Verdict(NamedTuple):
    """What the compiler says of a program, and what is wrong with it.

    Attributes:
      seconds: that the compiler took, on one machine once.
      memory: bytes of a device by use; empty where the program was too large to compile.
      parts: of the arguments, by name.
      text: the program, in XLA's notation.
      faults: each a sentence; none if the program can run as it should.
    """

    name: str
    seconds: float
    memory: Mapping[str, int]
    structure: Structure
    parts: Mapping[str, Part]
    text: str
    faults: tuple[str, ...]

    @property
    def num_bytes(self) -> int:
        """What a device must hold."""
        return sum(self.memory.values())


def examine(program: Program, machine: Machine) -> Verdict:
    """The verdict on a program that is compiled for the machine."""
    start = time.perf_counter()
    try:
        with nothing_kept():
            compiled = program.step.lower(program.state, program.batch).compile()
    except jax.errors.JaxRuntimeError as error:
        if _TOO_LARGE not in str(error):
            raise
        seconds = time.perf_counter() - start
        fault = _expected_to_fit(machine, f"more ({_first_line(error)})")
        return Verdict(program.name, seconds, {}, Structure((), ()), {}, "", (fault,))
    seconds = time.perf_counter() - start
    text = compiled.as_text() or ""
    found, memory = structure(text), _memory(compiled)
    faults = (*_too_large(memory, machine), *meeting_faults(found, program.meetings))
    return Verdict(program.name, seconds, memory, found, _parts(program), text, faults)


def meeting_faults(found: Structure, allowed: Meetings) -> Iterator[str]:
    """What is wrong with where devices meet."""
    for meeting in found.meetings:
        if any(passes != allowed.rounds for passes in meeting.around):
            yield f"expected devices to meet outside of loops over time, got {said(meeting)}"
    outside = [meeting for meeting in found.meetings if not meeting.around]
    if not allowed.fewest <= len(outside) <= allowed.most:
        kinds = ", ".join(map(said, outside)) or "none"
        yield f"expected {_expected(allowed)} outside of loops, got {kinds}"


def said(meeting: Meeting) -> str:
    """A meeting in words."""
    where = "".join(f" in a loop of {passes or 'unknown'} passes" for passes in meeting.around)
    return f"{meeting.kind} of {meeting.num_bytes / 2**10:.3g} KiB{where}"


def _expected(allowed: Meetings) -> str:
    if allowed.most == 0:
        return "no meeting"
    return "one all-reduce" if allowed.most == 1 else f"1 to {allowed.most} meetings"


def _memory(compiled: Any) -> dict[str, int]:
    analysis = compiled.memory_analysis()
    memory = {part: getattr(analysis, f"{part}_size_in_bytes") for part in _PARTS}
    memory["output"] -= analysis.alias_size_in_bytes
    return memory


def _too_large(memory: Mapping[str, int], machine: Machine) -> Iterator[str]:
    if (need := sum(memory.values())) > machine.memory:
        yield _expected_to_fit(machine, _gib(need))


def _expected_to_fit(machine: Machine, got: str) -> str:
    return (
        f"expected what fits the {_gib(machine.memory)} of a device, got {got}; try a smaller "
        f"batch, more devices, or --remat-chunk"
    )


def _parts(program: Program) -> dict[str, Part]:
    found = {}
    for name, tree in program.arguments.items():
        leaves = jax.tree.leaves(tree)
        if leaves:
            num_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
            replicated = all(leaf.sharding.is_fully_replicated for leaf in leaves)
            found[name] = Part(len(leaves), num_bytes, replicated)
    return found


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.3g} GiB"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
