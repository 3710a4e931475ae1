"""A sweep over operators, solvers and widths is a sweep for each, and a report of all of them."""

import json
import os
import signal
import sys

import numpy as np
import pytest
from test_sweep import cells_of

from sbo_jax.runs import sweep_command
from sbo_jax.runs.config import TrainConfig
from sbo_jax.runs.config.command_line import parse
from sbo_jax.runs.preparation import prepare
from sbo_jax.runs.sweep import SweepConfig, prepare_rows, prepare_sweep, sweep
from sbo_jax.training.fit import fit
from sbo_jax.training.fit_many import SweepEpoch, stack

DATA = {"task": "adding", "length": 6}
SIZES = {"batch_size": 1280, "upper_rate": 1e-2}
GRID = SweepConfig.of(
    etas=(0.2, 0.6),
    mus=(0.5,),
    seeds=(0,),
    eta_kind="normalised",
    operators=("dense", "scalar"),
    hidden=(4, 6),
    epochs=2,
    **DATA,
    **SIZES,
)


@pytest.mark.parametrize("kind", ["normalised", "learned"])
def test_a_cell_of_a_row_is_the_run_of_its_options(kind):
    row = prepare_rows(GRID.changed(eta_kind=kind))[3]
    assert row.label == "operator scalar, hidden 6"
    options = {"eta": 0.6, "eta_kind": kind, "mu": 0.5, "operator": "scalar", "hidden": 6}
    run = prepare(TrainConfig.of(**options, epochs=2, mesh="data=1", **DATA, **SIZES))
    sizes = {"epochs": 2, "batch_size": 1280, "mesh": run.mesh}
    alone = fit(run.model, run.task, run.objective, run.method, **sizes)
    for ours, theirs in zip(sweep(row), alone, strict=True):
        for name in ("train_loss", "validation_loss", "validation"):
            np.testing.assert_allclose(getattr(ours, name)[1], getattr(theirs, name), rtol=1e-4)


def test_several_names_and_widths_are_rows_with_commas_or_spaces_between_them():
    words = "--operators dense,scalar --solvers nesterov heavy_ball --hidden 4 6".split()
    rows = parse(SweepConfig, words).rows()
    chosen = [(row.lower.operator, row.lower.solver, *row.layer.hidden) for row in rows]
    solvers, widths = ("nesterov", "heavy_ball"), (4, 6)
    assert chosen == [(o, s, h) for o in ("dense", "scalar") for s in solvers for h in widths]
    assert [row.rows() for row in rows] == [[row] for row in rows]
    assert len(parse(SweepConfig, []).rows()) == 1


@pytest.mark.parametrize("drawn", [{"jitter": 0.5}, {"gradient_noise": 1e-2}])
def test_cells_draw_noise_and_changes_of_samples_from_the_first_seed(drawn):
    config = GRID.changed(operators=(), hidden=(4,), etas=(0.6,), seeds=(3, 4), epochs=1, **drawn)
    (row,) = prepare_rows(config)
    (ours,) = sweep(row)
    options = {"eta": 0.6, "eta_kind": "normalised", "mu": 0.5, "hidden": 4, "mesh": "data=1"}
    first, second = (
        prepare(TrainConfig.of(seed=seed, epochs=1, **options, **drawn, **DATA, **SIZES))
        for seed in (3, 4)
    )

    def loss(method):
        parts = second.model, second.task, second.objective, method
        (epoch,) = fit(*parts, epochs=1, batch_size=1280, mesh=second.mesh)
        return epoch.train_loss

    np.testing.assert_allclose(ours.train_loss[1], loss(first.method), rtol=2e-6)
    assert abs(loss(second.method) / loss(first.method) - 1) > 2e-5


def test_a_sweep_counts_updates_where_they_are_given_and_else_its_20_epochs():
    words = "--task adding --length 6 --etas 0.1 --mus 0 --seeds 0 --hidden 4 --batch-size 640"
    given = (["--epochs", "20"], 20, None)
    for more, epochs, updates in (([], 20, None), given, (["--updates", "15"], 2, 15)):
        (row,) = prepare_rows(parse(SweepConfig, [*words.split(), *more]))
        assert (row.first.recipe.epochs, row.first.recipe.updates) == (epochs, updates)
        assert row.num_steps == 10 * epochs


def test_several_rows_are_no_single_sweep():
    with pytest.raises(ValueError, match="expected one row, got 4; try prepare_rows"):
        prepare_sweep(GRID)


def pretended(log, stop_at=None):
    """Training in no time: scores of 1 / (epoch + cell), and a diverged last cell in the 2nd row.

    Says to `log` what is trained; at `stop_at`, an epoch of a row, Ctrl-C comes.
    """

    def train(row, on_step, between_batches, start):
        for epoch in range(1 if start is None else start.epoch + 1, 4):
            if (row.label, epoch) == stop_at:
                os.kill(os.getpid(), signal.SIGINT)
            on_step(epoch, 1.0)
            log.append((row.label, epoch))
            scores = 1 / (epoch + np.arange(2.0)) + row.config.layer.hidden[0]
            diverged = np.asarray([0, 7 if row.config.lower.operator == "scalar" else 0])
            states = stack(row.models, row.first.method)[1]
            yield SweepEpoch(epoch, scores, scores, scores, diverged, lambda states=states: states)

    return train


def test_rows_that_are_done_are_not_trained_again_and_all_are_in_the_report(tmp_path, monkeypatch):
    log = []
    config = GRID.changed(hidden=4, out=tmp_path / "run", resume=True)
    rows = ["operator dense", "operator scalar"]
    with monkeypatch.context() as patch:
        patch.setattr(sweep_command, "sweep", pretended(log, (rows[1], 2)))
        assert sweep_command.sweep_once(config) == 128 + signal.SIGINT
        patch.setattr(sweep_command, "sweep", pretended(log))
        assert sweep_command.sweep_once(config) == 0
    assert log == [(row, epoch) for row in rows for epoch in (1, 2, 3)]
    cells = cells_of(tmp_path / "run")
    assert [cell["row"] for cell in cells] == ["operator dense"] * 2 + ["operator scalar"] * 2
    dense, scalar = json.loads((tmp_path / "run/report.json").read_text())["rows"]
    assert (dense["best_eta"], dense["validation"]) == (0.6, cells[1]["final"])
    assert (scalar["best_eta"], scalar["validation"]) == (0.2, cells[2]["final"])
    assert (dense["diverged"], scalar["diverged"], scalar["cells"]) == (0, 1, 2)
    report = (tmp_path / "run/report.md").read_text()
    assert "| operator scalar |" in report
    assert "eta in units of 1/L" in report
    assert "1 of 2 |" in report
    assert "[report.html](report.html)" in report


def test_without_plotly_one_sentence_names_the_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweep_command, "sweep", pretended([]))
    for name in ("plotly", "plotly.subplots", "plotly.graph_objects"):
        monkeypatch.setitem(sys.modules, name, None)
    config = GRID.changed(hidden=4, operators="dense", out=tmp_path / "run")
    assert sweep_command.sweep_once(config) == 0
    assert "pip install -e '.[reports]'" in capsys.readouterr().err
    assert not (tmp_path / "run/report.html").exists()
    assert (tmp_path / "run/heat_map.png").exists()
    assert "report.html needs plotly" in (tmp_path / "run/report.md").read_text()
