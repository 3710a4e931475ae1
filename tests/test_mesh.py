"""Several devices compute what one computes, and meet once a step.

The devices are virtual and live in a process of their own, since all share two cores.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import compiled
import jax
import pytest
from on_devices import AUGMENTED, BROKEN, LAYERS, MASKED, METHODS, PATHS, VARYING

from sbo_jax.devices.mesh import check_divides, make_mesh, parse_mesh

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def found():
    seed = int.from_bytes(os.urandom(3))
    result = subprocess.run(
        [sys.executable, HERE / "on_devices.py", str(seed)],
        env=os.environ
        | {"XLA_FLAGS": f"{compiled.XLA_FLAGS} --xla_force_host_platform_device_count=8"}
        | {"JAX_PLATFORMS": "cpu"}
        | {"PYTHONPATH": os.pathsep.join(map(str, (HERE.parent, HERE)))},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert result.returncode == 0, f"seed {seed}: {result.stderr}"
    print(f"seed {seed}")
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", LAYERS)
def test_four_devices_train_as_one_does(found, name):
    # rounding to bfloat16 turns a different order of summation into visible differences
    assert found[name]["difference"] < (1e-3 if name == "bfloat16" else 1e-9)


@pytest.mark.parametrize("name", LAYERS)
def test_devices_meet_once_a_step_and_never_in_a_loop_over_time(found, name):
    assert found[name]["meetings"] == ["all-reduce"]
    assert found[name]["loops"] > 0
    assert found[name]["inside"] == []


def test_left_to_the_compiler_they_would_meet_at_every_time_step(found):
    assert found["left to the compiler"]["inside"] != []


def test_devices_share_memories_by_samples_and_heads(found):
    assert found["heads"]["difference"] < 1e-9


@pytest.mark.parametrize(("name", "words"), [(name, words) for name, (_, words) in BROKEN.items()])
def test_a_step_that_meets_where_it_should_not_is_found_out(found, name, words):
    assert re.search(words, " ".join(found["faults"][name])), found["faults"][name]
    assert found["faults"]["none"] == []


def test_a_step_that_does_not_fit_is_found_out(found):
    (fault,) = found["faults"]["memory"]
    assert "of a device" in fault


@pytest.mark.parametrize("name", VARYING)
def test_a_layer_inside_shard_map_is_the_layer_outside(found, name):
    assert found["varying"][name]["difference"] < 1e-12
    assert found["varying"][name]["inside"] == []


@pytest.mark.parametrize("name", PATHS)
def test_samples_stay_apart_where_the_first_state_is_the_same_on_all_devices(found, name):
    assert found["paths"][name] < 1e-12


def test_a_derivative_that_shard_map_would_sum_over_devices_is_refused(found):
    assert "expected an energy that closes over nothing" in found["refused"]["closure"]


@pytest.mark.parametrize("name", METHODS)
def test_a_step_averages_over_devices_whether_or_not_shard_map_checks(found, name):
    assert found["methods"][name] < 1e-12


def test_a_kernel_in_a_shard_map_that_checks_is_refused(found):
    assert "check_vma=False" in found["refused"]["kernel"]


def test_dropout_on_devices_is_a_function_of_the_seed(found):
    assert found["dropout"]["difference"] == 0


@pytest.mark.parametrize("name", MASKED + AUGMENTED)
def test_every_device_draws_numbers_of_its_own(found, name):
    assert len(set(found["drawn"][name])) == 4


def test_devices_carry_each_its_own_sequences(found):
    assert found["language model"]["difference"] < 1e-5  # in float32, as Flax's embedding
    # once for numbers of each type
    assert found["language model"]["meetings"] == [["all-reduce"] * 2, ["all-reduce"]]


def test_devices_weigh_steps_and_not_their_shares(found):
    # each has another number of steps that count; in float32, as the read-out
    assert found["unequal"]["difference"] < 1e-5


def test_a_sweep_over_devices_is_the_sweep_on_one(found):
    assert found["sweep"]["difference"] < 1e-5


def test_a_mesh_is_read_from_its_text():
    device = jax.devices()[0]
    assert dict(parse_mesh("sweep=1,data=1").shape) == {"sweep": 1, "data": 1}
    assert dict(make_mesh(sweep=2, data=3, devices=[device] * 7).shape) == {"sweep": 2, "data": 3}
    assert dict(make_mesh(sweep=2, devices=[device] * 7).shape) == {"sweep": 2, "data": 3}
    assert make_mesh(devices=[device] * 5).shape["data"] == 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data=1000", "got sweep=1, data=1000"),
        ("sweep=0", "got sweep=0"),
        ("data=0", "data=0"),
        ("data", "sweep=4,data=2"),
        ("dta=2", "'dta=2'"),
        ("data=1,data=1", "sweep=4,data=2"),
    ],
)
def test_other_meshes_are_refused(text, words):
    with pytest.raises(ValueError, match=words):
        parse_mesh(text)


def test_a_batch_that_devices_cannot_share_is_refused_with_one_that_they_can():
    mesh = make_mesh(devices=[jax.devices()[0]] * 3)
    check_divides(mesh, 66)
    with pytest.raises(ValueError, match=r"3 devices can share, got 64; try --batch-size 66"):
        check_divides(mesh, 64)
