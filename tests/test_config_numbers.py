"""Numbers of a configuration are checked as what is computed with, in every cell of a grid."""

import numpy as np
import pytest

from sbo_jax._checks import in_float32
from sbo_jax.experiments.file import read_experiment
from sbo_jax.runs.config import TrainConfig, check
from sbo_jax.runs.sweep import SweepConfig
from sbo_jax.training.optimizer import default_optimizer

OPTIONS = TrainConfig.options()
FLOATS = [name for name, o in OPTIONS.items() if o.hint in (float, float | None)]
WHOLE = [name for name, o in OPTIONS.items() if o.hint in (int, int | None)]
NOT_FLOAT32 = [1e39, -1e39, 1e-50, 1e-40, 5e-324, np.inf, -np.inf, np.nan]


def test_the_options_of_numbers_are_known():
    assert {"eta", "mu", "clip", "upper_rate", "train_fraction", "penalty", "damping"} < {*FLOATS}
    assert {"seed", "split_seed", "hidden", "epochs", "inner_steps", "length"} < {*WHOLE}


@pytest.mark.parametrize("value", NOT_FLOAT32)
@pytest.mark.parametrize("name", FLOATS)
def test_a_number_that_float32_cannot_hold_is_refused(name, value):
    with pytest.raises(ValueError, match=r"^expected .*, got .*(e[+-]|inf|nan)"):
        check(TrainConfig.of(**{name: value}))


@pytest.mark.parametrize("value", [2**31, 2**32, 10**18, -(10**18)])
@pytest.mark.parametrize("name", WHOLE)
def test_a_number_that_int32_cannot_hold_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"^expected .*{name}.*, got {value}"):
        check(TrainConfig.of(**{name: value}))


@pytest.mark.parametrize("value", ["1", True, [1], 1j])
@pytest.mark.parametrize("name", [*FLOATS, *WHOLE])
def test_what_is_no_number_is_refused(name, value):
    with pytest.raises(ValueError, match=f"^expected {name} as a (whole )?number, got "):
        check(TrainConfig.of(**{name: value}))


@pytest.mark.parametrize("name", WHOLE)
def test_a_count_is_whole(name):
    with pytest.raises(ValueError, match=f"^expected {name} as a whole number, got 8.5"):
        check(TrainConfig.of(**{name: 8.5}))


def test_a_law_is_asked_of_the_number_in_float32():
    with pytest.raises(ValueError, match=r"0 <= mu < 1, got 1, which is 1.0 in float32; the paper"):
        check(TrainConfig.of(solver="heavy_ball", mu=1 - 1e-9))


def test_a_number_is_rounded_as_a_computation_rounds_it(rng):
    number = float(rng.normal() * 10.0 ** rng.integers(-37, 38))
    assert in_float32(number) == np.float32(number)
    assert in_float32(-1e-39) == 0 == in_float32(1e-46)
    assert in_float32(-3.5e38) == -np.inf


@pytest.mark.parametrize("options", [{"upper_rate": 1e-50}, {"clip": 1e-300}, {"num_steps": 2**31}])
def test_an_optimizer_takes_numbers_that_change_something(options):
    with pytest.raises(ValueError, match=r"^expected"):
        default_optimizer(**{"upper_rate": 1e-2, "num_steps": 10} | options)


GRIDS = [
    ("seeds", (0, 2**32), "seed < 2.*, got 4294967296"),
    ("seeds", (3, -1), "seed < 2.*, got -1"),
    ("etas", (0.1, 1e39), "eta > 0, got 1e.39, which is inf"),
    ("etas", (0.1, 1e-50), "eta > 0, got 1e-50, which is 0"),
    ("etas", (0.1, 0.1 + 1e-12), "different etas, .* equal in float32"),
    ("mus", (0.5, 1 - 1e-12), "mu < 1, got 1, which is 1.0"),
    ("mus", (0.0, -0.0), "different mus"),
]


@pytest.mark.parametrize(("name", "values", "sentence"), GRIDS)
def test_every_cell_of_a_sweep_is_checked_as_a_single_run(name, values, sentence):
    with pytest.raises(ValueError, match=rf"^expected .*{sentence}"):
        SweepConfig.of(**{name: values}).check()


EXPERIMENTS = {
    "seeds = [0, 4294967296]": "seed < 2.*, got 4294967296",
    "seeds = [1, 1]": r"every seed once, got \[1, 1\]",
    "[matrix]\neta = [0.1, nan]": "eta > 0, got nan",
    "[matrix]\neta = [0.1, 1e39]": "eta > 0, got 1e.39",
    "[matrix]\neta = [0.1, 0.10000000000001]": "rows that differ",
    "[matrix]\nhidden = [8, 3000000000]": "hidden < 2..31, got 3000000000",
    "[shared]\noperator = 'low_rank'\n[matrix]\nrank = [8, 300]": "rank 300|got 300",
    "[matrix]\nrollout = ['unrolled', 'parallel']": "do not interact",
    "[shared]\neta_kind = 'normalised'\n[matrix]\neta = [0.5, 2.0]": "0 < eta L < 1, got 2",
}


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = 1979-99-99"])
def test_a_file_that_is_no_experiment_is_refused_with_its_path(text, tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"^{path}: "):
        read_experiment(path)


@pytest.mark.parametrize("text", EXPERIMENTS)
def test_every_cell_of_an_experiment_is_checked_before_anything_trains(text, tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"^{path}: expected .*({EXPERIMENTS[text]})"):
        read_experiment(path)
