"""The tree is the table of contents, and two rules hold in it.

1. Imports go down the list of rooms.
2. The mathematics of the lower level knows no Flax.
"""

import ast
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import sbo_jax

ROOT = Path(__file__).parents[1] / "sbo_jax"

# From the top of the house to its foundations; a name is a folder or a file of sbo_jax.
ROOMS = [
    "card",
    "experiments",
    "benchmarks",
    "ahead",
    "estimators",
    "trained",
    "runs",
    "training",
    "nn",
    "peers",
    "devices",
    "rollouts",
    "stability",
    "relaxations",
    "linear_solvers",
    "lower",
    "tasks",
    "disk",
    "plots",
    "_numerics",
    "_varying",
    "_streams",
    "_checks",
    "_words",
    "_types",
    "_version",
]
WITHOUT_FLAX = ["lower", "rollouts", "stability", "relaxations", "linear_solvers"]
MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def room(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_modules(path):
    """Dotted names of everything that a file imports, relative imports resolved."""
    package = ("sbo_jax", *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def imported_rooms(path):
    names = [name.split(".") for name in imported_modules(path)]
    return {name[1] for name in names if name[0] == "sbo_jax"}


def name_of(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down_the_list(path):
    own = ROOMS.index(room(path))
    for other in imported_rooms(path) - {room(path)}:
        assert ROOMS.index(other) > own, f"{room(path)} imports {other}"


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) in WITHOUT_FLAX], ids=name_of)
def test_the_lower_level_knows_no_flax(path):
    assert not any(name.split(".")[0] == "flax" for name in imported_modules(path))


def test_plots_alone_imports_what_draws():
    for path in MODULES:
        if room(path) != "plots":
            packages = {name.split(".")[0] for name in imported_modules(path)}
            assert not packages & {"matplotlib", "plotly"}, path


@pytest.mark.parametrize("name", ["tasks", "plots"])
def test_data_and_figures_know_no_model(name):
    for path in (ROOT / name).rglob("*.py"):
        assert imported_rooms(path) <= {name, "disk", "_checks", "_words", "_types", "_version"}


def test_the_list_names_every_room_and_no_other():
    assert {room(path) for path in MODULES} == set(ROOMS)


def test_files_of_a_room_import_each_other_without_a_circle():
    names = {
        path: ".".join(("sbo_jax", *path.relative_to(ROOT).with_suffix("").parts))
        for path in MODULES
    }
    files = {name.removesuffix(".__init__"): path for path, name in names.items()}

    def targets(path):
        for name in imported_modules(path):
            for known in (name, name.rpartition(".")[0]):
                if known in files and files[known] != path:
                    yield files[known]
                    break

    done, open_ = set(), []

    def visit(path):
        assert path not in open_, f"a circle: {[name_of(p) for p in open_]}"
        if path in done:
            return
        open_.append(path)
        for target in targets(path):
            visit(target)
        done.add(open_.pop())

    for path in MODULES:
        visit(path)


def test_importing_the_package_warns_of_nothing_and_loads_what_models_need_alone():
    """Checkpoints and data come with the first call that asks for them; extras may be missing."""
    later = {"orbax", "tensorflow_datasets", "array_record", "msgspec"}
    extras = {"matplotlib", "plotly", "optuna", "tensorflow", "sklearn", "tensorboardX", "chex"}
    script = f"import sys, sbo_jax; print({later | extras} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False
    )
    assert result.stdout.strip() == "set()", result.stderr
    assert result.stderr == ""


def test_the_top_has_the_names_of_a_readers_first_day():
    exported = {name for name in dir(sbo_jax) if not name.startswith("_")}
    names = {name for name in exported if not isinstance(getattr(sbo_jax, name), ModuleType)}
    assert len(names) <= 42
    assert {"SBORNN", "STABLE", "load", "unroll"} <= names
