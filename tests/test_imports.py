"""The house has floors: imports go strictly downward, and the core knows no Flax."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "sbo_jax"

# Each floor may import the floors below it and its own; names as in `sbo_jax.<name>`.
FLOORS = [
    {"_version"},
    {"_types"},
    {"_spectral", "_reductions"},
    {"operators", "problems", "solvers", "hyperparameters", "equilibria", "_krylov", "tasks"},
    {"_unroll", "presets", "adjoint_policies"},
    {"_implicit"},
    {"_parallel", "_fused"},
    {"rollouts", "stability", "relaxations"},
    {"cells", "peers"},
    {"layers"},
    {"heads", "language_model"},
    {"training", "plots"},
    {"benchmarks"},
]
SHELL = {
    "cells",
    "peers",
    "layers",
    "heads",
    "language_model",
    "training",
    "benchmarks",
    "plots",
    "tasks",
}
LEVEL = {name: level for level, floor in enumerate(FLOORS) for name in floor}


def modules():
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def room(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(path):
    """Rooms of sbo_jax that a file imports, relative imports resolved."""
    package = ("sbo_jax", *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            full = (*base, *(node.module or "").split(".")) if node.module else base
            names = [full] if len(full) > 1 else [(*full, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        else:
            continue
        yield from (name[1] for name in names if name[0] == "sbo_jax" and len(name) > 1)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_strictly_downward(path):
    own = room(path)
    for other in imported_rooms(path):
        same_package = other == own and (ROOT / own).is_dir()
        sibling = LEVEL[other] == LEVEL[own] and "tasks" not in (other, own) and other != own
        assert same_package or LEVEL[other] < LEVEL[own] or sibling, f"{own} imports {other}"


def test_tasks_import_no_model_code():
    for path in (ROOT / "tasks").rglob("*.py"):
        assert set(imported_rooms(path)) <= {"tasks"}


def test_every_room_has_a_floor():
    assert {room(path) for path in modules()} == set(LEVEL)


CORE = [path for path in modules() if room(path) not in SHELL]


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_never_imports_flax(path):
    tree = ast.parse(path.read_text())
    imports = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any(module.split(".")[0] == "flax" for module in imports)


def test_importing_the_package_warns_of_nothing_and_needs_no_optional_package():
    optional = {"matplotlib", "tensorflow", "sklearn", "tensorboardX", "msgspec"}
    script = f"import sys, sbo_jax; print({optional} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False
    )
    assert result.stdout.strip() == "set()", result.stderr
    assert result.stderr == ""
