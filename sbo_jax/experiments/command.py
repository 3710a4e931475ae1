"""What the commands have in common that train what a TOML file asks for."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from ..devices.compilation_cache import check_writable
from ..disk.paths import local_path
from .file import Cell

JOURNAL = "journal.log"
"""Of a search; a folder with it has runs that were not tested."""


@dataclass(frozen=True)
class Command:
    """A file, how much of the machine its cells may have, and where everything is."""

    file: tyro.conf.Positional[Path]
    """an experiment, as in scripts/experiments/"""
    report: bool = False
    """train nothing; write the table of what is done"""
    at_once: int = 1
    """cells that run at the same time, each with its share of the cores, and of the GPUs that
    CUDA_VISIBLE_DEVICES names"""
    raw_dir: Path | None = None
    """folder with original files; see train.py"""
    data_dir: Path | None = None
    """where prepared data sets are kept; None: TFDS's"""
    compilation_cache: Path | None = None
    """folder that keeps compiled programs, for other cells as well; see train.py"""
    out: Path | None = None
    """where results go; None: runs/experiments/NAME"""

    def check(self) -> None:
        """ValueError for what cannot be."""
        if self.at_once < 1:
            raise ValueError(f"expected at-once >= 1, got {self.at_once}; try 1")
        check_writable(self.compilation_cache)

    def folder(self) -> Path:
        """Where results go; with a folder for the runs in it."""
        out = local_path(self.out or Path("runs", "experiments", self.file.stem))
        (out / "cells").mkdir(parents=True, exist_ok=True)
        return out

    def placed(self, cell: Cell, folder: Path) -> Cell:
        """The cell with the places that are named here, to go on with what is in the folder."""
        names = ("raw_dir", "data_dir", "compilation_cache")
        places = {name: getattr(self, name) for name in names}
        return cell._replace(config=cell.config.changed(resume=True, out=folder, **places))
