"""One table has one version of a user's samples."""

import json
import shutil

import numpy as np
import pytest

from sbo_jax.experiments.run import RunConfig, run

ONE = """
[shared]
task = "folder"
folder = "{folder}"
hidden = 4
epochs = 1
[[rows]]
name = "first"
"""
TWO = f'{ONE}[[rows]]\nname = "second"\nsolver = "sgd"\n'


@pytest.fixture
def samples(tmp_path, rng):
    """Writes thirty short sequences, drawn anew by every call."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "dataset.toml").write_text('inputs = "all.npz:x"\nlabels = "all.npz:y"\n')

    def write():
        np.savez(own / "all.npz", x=rng.normal(size=(30, 5, 2)), y=np.arange(30) % 3)
        return own

    return write


@pytest.mark.slow
@pytest.mark.parametrize("changed", ["samples", "description", "samples, no cells", ""])
def test_a_cell_on_samples_that_changed_joins_no_table(changed, tmp_path, samples, capsys):
    own, file, out = samples(), tmp_path / "some.toml", tmp_path / "out"
    file.write_text(ONE.format(folder=own))
    assert run(RunConfig(file, out=out)) == 0
    if "samples" in changed:
        samples()
    if "description" in changed:
        with (own / "dataset.toml").open("a") as description:
            description.write("test = 0.5\n")
    if "no cells" in changed:
        shutil.rmtree(out / "cells")
    file.write_text(TWO.format(folder=own))
    capsys.readouterr()
    assert run(RunConfig(file, out=out)) == (1 if changed else 0)
    said = capsys.readouterr().out
    assert ("expected the samples of the cells that are done, got others: " in said) == bool(
        changed
    )
    rows = json.loads((out / "report.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["first", "second"][: 1 if changed else 2]
