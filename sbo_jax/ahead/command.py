"""The command that compiles for a machine that is not here: `scripts/compile_for.py`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from ..devices.environment import environment
from ..devices.failures import in_one_sentence
from ..devices.processes import ALONE, Processes
from ..disk.paths import local_path
from ..disk.text import JsonLines, replace_text
from ..runs.config import Options, TrainConfig, check
from ..runs.config.command_line import parse_command
from ..runs.config.train import Data
from ..runs.preparation import prepare
from ..runs.sweep import SweepConfig, prepare_sweep
from ..tasks import outline
from ..tasks._types import Task
from .machines import Machine, machine
from .programs import Program, programs, sweep_programs
from .table import table
from .verdict import Verdict, examine, said


@dataclass(frozen=True)
class Target:
    """What to compile for."""

    topology: str
    """a TPU slice as in v5e:16x16, or the GPUs of a host as in gpu:8, of two hosts as in gpu:2x8"""
    gpu: Path | None = None
    """for GPUs: XLA's description of one, a file of its repository in
    xla/backends/gpu/target_config/specs"""
    figures: Path | None = None
    """JSON lines: the environment, then one line per program"""
    hlo: Path | None = None
    """folder for the programs in XLA's notation"""


_Flat = tyro.conf.arg(name="")


def compile_run(
    target: Annotated[Target, _Flat],
    config: Annotated[TrainConfig, _Flat],
    processes: Processes = ALONE,
) -> int:
    """Compile the steps of a run of train.py, whose options these are; trains nothing.

    Data of the catalogue are not read, and the number of processes does not matter. Exit code 0, 1
    for a program that would not fit or would wait for other devices where it should not, 2 for bad
    input.
    """
    del processes  # all of them run the same programs
    there = machine(target.topology, target.gpu)
    check(config)
    # A refit runs the same programs, on samples that an outline does not hold.
    prepared = prepare(config.changed(refit=False), _outline, there.devices)
    return _report(target, there, prepared.mesh.shape, programs(prepared), config)


def compile_sweep(target: Annotated[Target, _Flat], config: Annotated[SweepConfig, _Flat]) -> int:
    """Compile the steps of a sweep of sweep_eta.py, whose options these are; see the command train.

    Without a mesh, cells are split over as many devices as there are cells.
    """
    there = machine(target.topology, target.gpu)
    prepared = prepare_sweep(config, _outline, there.devices)
    return _report(target, there, prepared.mesh.shape, sweep_programs(prepared), config)


_DESCRIPTION = "Compile the programs of a run for a machine that is not here, and judge them."


def print_table(files: tyro.conf.Positional[list[Path]]) -> int:
    """Print kept figures as a Markdown table."""
    print(table(files))
    return 0


COMMANDS: dict[str, Callable[..., int]] = {
    "train": compile_run,
    "sweep": compile_sweep,
    "table": print_table,
}


def _outline(data: Data) -> Task:
    return outline(
        data.task,
        seed=data.split_seed,
        length=data.length,
        train_fraction=data.train_fraction,
        folder=data.folder,
    )


def _report(
    target: Target,
    there: Machine,
    mesh: Any,
    compiled: Iterable[Program],
    config: Options,
) -> int:
    """Compile, print, write lines; the exit code."""
    sizes = ", ".join(f"{name}={size}" for name, size in mesh.items())
    kind = there.devices[0].device_kind
    memory = f"{there.memory / 2**30:.3g} GiB each"
    print(f"{there.name}: {len(there.devices)} x {kind}, {memory}; mesh {sizes}", flush=True)
    lines = [
        environment()
        | {"topology": there.name, "device": kind, "options": " ".join(config.typed())}
    ]
    good = True
    with JsonLines(target.figures) as out:
        for program in compiled:
            verdict = examine(program, there)
            good &= not verdict.faults
            print(_text(verdict, there), flush=True)
            lines.append(_line(verdict))
            out.write(lines)
            if target.hlo and verdict.text:
                _write(local_path(target.hlo), there, verdict)
    return 0 if good else 1


def _text(verdict: Verdict, there: Machine) -> str:
    """What a program does, as people read it."""
    lines = [f"{verdict.name}: compiled in {verdict.seconds:.1f} s"]
    if verdict.memory:
        lines += _details(verdict, there)
    return "\n".join([*lines, *(f"  FAULT: {fault}" for fault in verdict.faults)])


def _details(verdict: Verdict, there: Machine) -> Iterator[str]:
    share = verdict.num_bytes / there.memory
    uses = ", ".join(f"{use} {_mib(size)}" for use, size in verdict.memory.items())
    yield f"  memory of a device: {_mib(verdict.num_bytes)}, {share:.2%} ({uses})"
    yield f"  devices meet: {', '.join(map(said, verdict.structure.meetings)) or 'never'}"
    yield f"  loops: {_loops(verdict)}"
    for title, replicated in (("on every device", True), ("split", False)):
        parts = {n: p for n, p in verdict.parts.items() if p.replicated == replicated}
        named = ", ".join(f"{n} ({p.num_arrays}, {_mib(p.num_bytes)})" for n, p in parts.items())
        yield f"  {title}: {named or 'nothing'}"


def _loops(verdict: Verdict) -> str:
    loops = [" of ".join(map(str, reversed(around))) for around in verdict.structure.loops]
    return ", ".join(dict.fromkeys(f"{loops.count(x)} x {x} passes" for x in loops)) or "none"


def _line(verdict: Verdict) -> dict[str, Any]:
    """What a program does, JSON-able."""
    return {
        "program": verdict.name,
        "seconds": round(verdict.seconds, 2),
        "memory": dict(verdict.memory),
        "meetings": [meeting._asdict() for meeting in verdict.structure.meetings],
        "loops": list(verdict.structure.loops),
        "arguments": {name: part._asdict() for name, part in verdict.parts.items()},
        "faults": list(verdict.faults),
    }


def _write(folder: Path, there: Machine, verdict: Verdict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{there.name} {verdict.name}".replace(" ", "-").replace(":", "-")
    replace_text(folder / f"{name}.hlo", verdict.text)


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.3g} MiB"


@in_one_sentence()
def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Parse ``COMMAND [options]`` and compile."""
    # Nothing runs on what this machine has, which a TPU or GPU would have to be free for.
    jax.config.update("jax_platforms", "cpu")
    return parse_command(COMMANDS, arguments, prog="compile_for.py", description=_DESCRIPTION)
