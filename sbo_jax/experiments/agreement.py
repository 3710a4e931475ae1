"""What workers that share a folder agree on: the experiment, as the first of them found it.

OUT/experiment.json   title, option to pick, and every cell by key, name and published number
"""

import json
from pathlib import Path
from typing import Any

from ..disk.text import create_text
from ..runs.folder.arrays import first_line
from .file import Experiment

_NAME = "experiment.json"
# What is said of a cell, in words that go before it.
_WORDS = {"name": "named", "row": "of the row", "published": "with published", "seed": "of seed"}


def is_shared(out: Path) -> bool:
    """Whether workers share the folder, or did."""
    return (out / _NAME).exists()


def agree(experiment: Experiment, out: Path, source: str) -> None:
    """Write down what is trained here, if nobody has.

    Raises:
      ValueError: what is written there is another experiment, or another version of this one.
    """
    path, own = out / _NAME, _described(experiment)
    create_text(path, json.dumps(own) + "\n")
    if difference := _difference(_read(path), own):
        raise ValueError(
            f"expected the experiment that {out} was begun with, got {source}: {difference}; "
            f"choose another folder with --out, or, if the change is meant and no worker runs, "
            f"remove {path}"
        )


def _described(experiment: Experiment) -> dict[str, Any]:
    cells = {
        cell.key: {
            "name": cell.name,
            "row": cell.row,
            "published": cell.published,
            "seed": cell.config.run.seed,
        }
        for cell in experiment.cells
    }
    return {"title": experiment.title, "pick": experiment.pick, "cells": cells}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        found["cells"].items()
        return {name: found[name] for name in ("title", "pick", "cells")}
    except OSError:
        raise
    except Exception as error:  # whatever damaged JSON makes its readers raise
        raise ValueError(
            f"expected an experiment in {path}, got {first_line(error)}; remove it"
        ) from error


def _difference(there: dict[str, Any], here: dict[str, Any]) -> str:
    """The first difference in words, "" where there is none."""
    for name in ("title", "pick"):
        if there[name] != here[name]:
            return f"its {name} is {here[name]!r}, and was {there[name]!r}"
    old, new = there["cells"], here["cells"]
    for key in sorted(new.keys() - old.keys()):
        return "a cell that it adds, {name!r} with seed {seed}".format(**new[key])
    for key in sorted(old.keys() - new.keys()):
        return "a cell that it lacks, {name!r} with seed {seed}".format(**old[key])
    for key, cell in new.items():
        for name, value in cell.items():
            if value != old[key].get(name):
                return f"a cell {_WORDS[name]} {value!r}, and was {old[key].get(name)!r}"
    return ""
