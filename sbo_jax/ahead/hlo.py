"""What a compiled program says of itself: its loops, and where its devices meet.

XLA's text is a list of computations. A loop names the computation of its body, a fusion or a branch
the one that it calls, so that a walk from the entry sees every operation with the loops around it.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

# Passes of every loop around an operation, outermost first; None where the text does not say.
Around: TypeAlias = tuple[int | None, ...]
Computations: TypeAlias = dict[str, list[str]]

_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_LOOP = re.compile(r" while\(.*condition=%?([\w.\-]+), body=%?([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_LIMIT = re.compile(r"s32\[\]\S* constant\((\d+)\)")
_CALLED = re.compile(r"(?:calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_MEETING = re.compile(
    r" (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast|"
    r"ragged-all-to-all)(?:-start)?\("
)
_ARRAY = re.compile(r"\b(?:pred|[a-z]+(\d+)[a-z0-9]*)\[([\d,]*)\]")
_BITS_OF_PRED = 8


class Meeting(NamedTuple):
    """Where all devices wait for one another: an operation, what it returns, the loops around."""

    kind: str
    num_bytes: int
    around: Around


class Structure(NamedTuple):
    """All loops of a program, each as the loops around it and itself, and all meetings."""

    loops: tuple[Around, ...]
    meetings: tuple[Meeting, ...]


def structure(text: str) -> Structure:
    """The loops and meetings of a program in XLA's text."""
    computations = _computations(text)
    loops: list[Around] = []
    meetings: list[Meeting] = []
    for line, around in _walk(computations, "ENTRY", ()):
        if _LOOP.search(line):
            loops.append(around)
        elif meeting := _MEETING.search(line):
            result = line[: meeting.start()].partition(" = ")[2]
            meetings.append(Meeting(meeting[1], _num_bytes(result), around))
    return Structure(tuple(loops), tuple(meetings))


def _computations(text: str) -> Computations:
    found: Computations = {}
    lines: list[str] = []
    for line in text.splitlines():
        if head := _HEAD.match(line):
            lines = found.setdefault("ENTRY" if head[1] else head[2], [])
        elif not line.startswith("}"):
            lines.append(line)
    return found


def _walk(found: Computations, name: str, around: Around) -> Iterator[tuple[str, Around]]:
    """Every line that a computation reaches with the loops around it; of a loop, with itself."""
    for line in found.get(name, ()):
        if loop := _LOOP.search(line):
            condition, body = loop.groups()
            inside = (*around, _trips(found, line, condition))
            yield line, inside
            yield from _walk(found, body, inside)
            continue
        yield line, around
        branches = _BRANCHES.search(line)
        called = _CALLED.findall(line)
        called += re.findall(r"[\w.\-]+", branches[1]) if branches else []
        for other in called:
            yield from _walk(found, other, around)


def _trips(found: Computations, line: str, condition: str) -> int | None:
    """How often a loop runs, or at most runs."""
    if known := _TRIPS.search(line):
        return int(known[1])
    limits = [int(n) for line in found.get(condition, ()) for n in _LIMIT.findall(line)]
    return max(limits, default=None)


def _num_bytes(shapes: str) -> int:
    """Of all arrays in a result, ``(f32[128,10]{...}, f32[])`` say."""
    total = 0
    for bits, sizes in _ARRAY.findall(re.sub(r"\{[^}]*\}", "", shapes)):
        count = 1
        for size in filter(None, sizes.split(",")):
            count *= int(size)
        total += count * int(bits or _BITS_OF_PRED) // 8
    return total
