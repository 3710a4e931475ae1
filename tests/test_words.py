"""Messages and reports count one thing as one."""

from dataclasses import replace

import pytest
from flax import nnx

import sbo_jax as sbo
from sbo_jax._words import counted
from sbo_jax.devices.mesh import make_mesh
from sbo_jax.runs.folder.machine import machine, warn_of_other_machine
from sbo_jax.tasks.account import account


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 steps"), (1, "1 step"), (2, "2 steps"), (12345, "12,345 steps")]
)
def test_a_noun_is_as_many_as_its_number(number, words):
    assert counted(number, "step") == words


def test_a_noun_may_have_a_plural_of_its_own():
    assert [counted(n, "class", "classes") for n in (1, 2)] == ["1 class", "2 classes"]


def test_one_device_is_one():
    assert machine(make_mesh(data=1)) == "1 device in 1 process"


def test_a_run_that_goes_on_with_other_devices_or_processes_is_told():
    here = machine(make_mesh(data=1))
    warn_of_other_machine({"machine": here}, here)  # says nothing: warnings are errors
    for other in ("2 devices in 1 process", "1 device in 2 processes"):
        with pytest.warns(UserWarning, match=f"began with {other} and goes on with {here}: "):
            warn_of_other_machine({"machine": other}, here)


def test_sequences_of_one_step_are_said_to_have_one():
    assert "Each has 1 step. " in account(replace(sbo.tasks.load("adding", length=2), length=1))


def test_one_feature_is_expected_as_one():
    with pytest.raises(ValueError, match="expected inputs with 1 feature in the last axis"):
        sbo.SBORNN(1, 2, rngs=nnx.Rngs(0))([[1.0, 2.0]])
