"""`benchmark.py summary`: one page over many experiments, from the report.json of each.

FOLDER/*.json           reports of experiments, under any name; NAME.md beside one is its page
FOLDER/published.toml   what others reach, see `published`; optional
FOLDER/summary.md       written: the table, and a section per task with pictures
FOLDER/summary-*.png    written: the pictures
FOLDER/README.md        its part between two comments, if it has them, is replaced by the table
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from ...devices.failures import in_one_sentence
from ...disk.paths import local_path
from ...disk.text import staged
from ...plots import png
from .page import front, page
from .pictures import pictures
from .results import Results, read_results

PAGE, README = "summary.md", "README.md"
BEGIN, END = "<!-- benchmark.py summary: begin -->", "<!-- benchmark.py summary: end -->"


@dataclass(frozen=True)
class SummaryConfig:
    """Write summary.md into a folder of reports: what was reached beside what others published.

    Exit code 0, or 2 for bad input.
    """

    folder: tyro.conf.Positional[Path]
    """holds report.json files of experiments under any name, pages (.md) beside them, and, if you
    like, published.toml (docs/runs.md)"""


@in_one_sentence("benchmark.py")
def summarise(config: SummaryConfig) -> int:
    """Write the pages and the pictures, and say where they are."""
    folder = local_path(config.folder)
    results = read_results(folder)
    texts = pages(folder, results)
    with staged(folder) as new:
        for picture in pictures(results):
            (new / picture.name).write_bytes(png(picture.draw()))
        for name, text in texts.items():
            (new / name).write_text(text, encoding="utf-8")
    print(folder / PAGE)
    return 0


def pages(folder: Path, results: Results) -> dict[str, str]:
    """What the files that hold text will hold, by their names.

    Raises:
      ValueError: README.md has one of the two comments and not the other.
    """
    texts = {PAGE: page(results)}
    readme = folder / README
    if readme.exists():
        text = readme.read_text(encoding="utf-8")
        if BEGIN in text or END in text:
            texts[README] = _with_table(text, front(results, PAGE), readme)
    return texts


def _with_table(text: str, table: str, path: Path) -> str:
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"expected {BEGIN} and then {END} in {path}, got one without the other")
    return f"{head}{BEGIN}\n\n{table}\n{END}{tail}"
