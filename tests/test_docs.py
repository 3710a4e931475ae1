"""What the documentation says exists, and everything public is in it."""

import importlib
import pkgutil
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from test_imports import ROOMS

import sbo_jax

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md", "docs/overview.md"]
PAGES += ["docs/tour.md", "docs/runs.md", "docs/own_data.md", "docs/tpu.md", "docs/scaling.md"]
PAGES += ["docs/estimators.md"]
PUBLIC = [
    name for name in (m.name for m in pkgutil.iter_modules(sbo_jax.__path__)) if name[0] != "_"
]

sys.path.insert(0, str(ROOT / "docs"))
api_pages = importlib.import_module("api_pages")
sys.path.pop(0)


def text(page):
    return (ROOT / page).read_text(encoding="utf-8")


def exports(module):
    """Public names of a package, by looking at it instead of at its source."""
    values = {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}
    return {name for name, value in values.items() if not isinstance(value, ModuleType)}


@pytest.fixture(scope="module")
def entries():
    """``{page: names that it describes}``, read from the pages."""
    directive = re.compile(r"^\.\. (?:autoclass|autofunction|py:data):: (\w+)$", re.MULTILINE)
    return {page: set(directive.findall(rst)) for page, rst in api_pages.pages().items()}


@pytest.mark.parametrize("room", PUBLIC)
def test_every_public_name_of_a_room_is_in_the_reference(entries, room):
    module = importlib.import_module(f"sbo_jax.{room}")
    if not hasattr(module, "__path__"):
        pytest.skip("a file, whose public names are those that it defines")
    assert exports(module) <= entries[f"sbo_jax.{room}.rst"]


def test_every_name_at_the_top_is_in_the_reference(entries):
    described = set.union(*entries.values())
    assert exports(sbo_jax) <= described
    listed = set(re.findall(r":py:obj:`sbo_jax\.(\w+) <", api_pages.pages()["sbo_jax.rst"]))
    assert exports(sbo_jax) <= listed | entries["sbo_jax.rst"]


def test_the_architecture_lists_the_rooms_from_the_top_down():
    table = re.search(r"\| room \|.*?\n\n", text("docs/architecture.md"), re.DOTALL).group()
    first_cells = re.findall(r"^\|(.*?)\|", table, re.MULTILINE)
    rooms = [name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)]
    assert rooms == ROOMS


def test_classes_that_the_overview_names_are_public():
    known = set.union(*(exports(importlib.import_module(f"sbo_jax.{room}")) for room in PUBLIC))
    named = set(re.findall(r"`([A-Z][A-Za-z]*[a-z][A-Za-z]*)`", text("docs/overview.md")))
    assert named
    assert named <= known


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#:]+)\)", text(page))
    sources = [re.sub(r"^(notebooks/)", r"../\1", link) for link in links]
    missing = [link for link in sources if not ((ROOT / page).parent / link).exists()]
    assert not missing


def test_files_that_contributing_names_exist():
    named = re.findall(r"`((?:sbo_jax|tests|docs|scripts)/[\w./]*\w)`", text("CONTRIBUTING.md"))
    assert named
    assert all((ROOT / name).exists() for name in named)
