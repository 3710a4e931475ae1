"""The table that daily_sports_data.py writes is what task folder reads: segments, people, parts."""

import sys
from pathlib import Path

import numpy as np
import pytest

from sbo_jax import tasks

sys.path.append(str(Path(__file__).parents[1] / "scripts/experiments"))
import daily_sports_data


def test_a_table_holds_every_segment_with_its_activity_and_person(tmp_path, rng):
    segments = {}
    for activity in ("a01", "a19"):
        for person in ("p1", "p2", "p3", "p5", "p8"):
            file = tmp_path / "data" / activity / person / "s01.txt"
            file.parent.mkdir(parents=True)
            segments[activity, person] = rng.normal(size=(4, 45)).astype(np.float32)
            np.savetxt(file, segments[activity, person], "%.9g", delimiter=",")
    daily_sports_data.write(tmp_path / "data", tmp_path / "table")
    task = tasks.load("folder", folder=tmp_path / "table")
    mean, std = (np.array(task.facts[name]) for name in ("mean", "std"))
    inputs, labels = task.test.fetch(np.arange(len(task.test)))
    assert task.facts["classes"] == ["playing basketball", "sitting"]
    for activity, label in {"a01": 1, "a19": 0}.items():
        for person in ("p5", "p8"):
            scaled = (segments[activity, person] - mean) / std
            found = [np.allclose(scaled, each, atol=1e-5) for each in inputs]
            assert [labels[number] for number in np.flatnonzero(found)] == [label]
    assert (len(task.train), len(task.validation)) == (4, 2)


def test_what_is_no_segment_is_refused(tmp_path):
    with pytest.raises(SystemExit, match=r"files such as a01/p1/s01.txt in .*, found none"):
        daily_sports_data.write(tmp_path, tmp_path / "table")
    file = tmp_path / "a01" / "p1" / "s01.txt"
    file.parent.mkdir(parents=True)
    file.write_text("1,2\n")
    with pytest.raises(SystemExit, match=r"45 numbers a line in .*s01.txt, got 2"):
        daily_sports_data.write(tmp_path, tmp_path / "table")
