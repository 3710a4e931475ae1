"""What a table tells of the test split: three protocols, of which one decides.

``test``        at the epoch that is kept: the best on validation, or the last
``refit``       after training anew on training and validation samples, for as many steps
``best_test``   at the epoch that was best on the test split, as the paper's release chooses
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...runs.test_split.answers import Answers, read_answers
from ...runs.test_split.bootstrap import FEW_UNITS, intervals

Line = Mapping[str, Any]
Summary = Mapping[str, Any]

HEADS = {
    "test": "test",
    "refit": "test, refit on training and validation",
    "best_test": "best test epoch, as the paper's release chooses; decides nothing",
}


def value(summary: Summary, protocol: str) -> float | None:
    """What a run reaches by this protocol; None where it was not asked for."""
    if protocol == "best_test":
        return summary.get("best_test")
    is_refit = summary.get("refit_steps") is not None
    if protocol == "refit":
        return summary["test"] if is_refit else None
    return (summary.get("chosen") or {}).get("test") if is_refit else summary["test"]


def joint_intervals(folder: Path, lines: Sequence[Line]) -> dict[str, Any]:
    """The 95 % intervals of a row by protocol and metric, of the mean over its seeds.

    Test samples are resampled jointly: all seeds answered the same ones. Only where the run folders
    of all seeds still have their answers, to one test split.
    """
    ended = [line for line in lines if "stopped" not in line["summary"]]
    found: dict[str, Any] = {}
    for protocol in ("test", "refit"):
        asked = [line for line in ended if value(line["summary"], protocol) is not None]
        answers = [_answers(folder, line, protocol) for line in asked]
        known = [each for each in answers if each is not None]
        if known and len(known) == len(ended) and all(map(known[0].is_paired_with, known)):
            found[protocol] = intervals(known)
            found["resampled"] = {"unit": known[0].unit, "count": known[0].num_units}
    return found


def _answers(folder: Path, line: Line, protocol: str) -> Answers | None:
    is_refit = line["summary"].get("refit_steps") is not None
    name = "chosen_answers.npz" if is_refit and protocol == "test" else "answers.npz"
    return read_answers(folder / "cells" / line["key"] / name)


def explained(found: Sequence[Mapping[str, Any]], asked: Sequence[str]) -> str:
    """What the columns of a table are, given the intervals of its rows."""
    text = (
        "Mean and standard deviation over seeds. `test` is of the epoch that was best on "
        "validation, or of the last where the file selects it; the test split decides nothing."
    )
    if "refit" in asked:
        text += (
            " `refit`: then trained anew on training and validation samples for as many steps; in "
            "such a row inputs are scaled by the moments of both from the beginning."
        )
    if "best_test" in asked:
        text += " `best test epoch` was chosen on the samples that it is measured on: too good."
    resampled = [each["resampled"] for each in found if "resampled" in each]
    if resampled:
        units = sorted({f"{each['count']:,} {each['unit']}s" for each in resampled})
        text += (
            f" In brackets a 95 % interval: percentile bootstrap of {' or '.join(units)} of the "
            f"test split, jointly over seeds."
        )
        if any(each["unit"] == "group" and each["count"] < FEW_UNITS for each in resampled):
            text += " So few groups make it too narrow: it holds the truth less often than said."
    return f"{text} Seconds are wall-clock."
