"""The recipes of CONTRIBUTING.md do what they say, as they are written there."""

import importlib
import re
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import sbo_jax as sbo
from sbo_jax import tasks
from sbo_jax.tasks._types import Request
from sbo_jax.training.fit import fit
from sbo_jax.training.objectives import MSE

PAGE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
T, IN, D = 9, 2, 4


def recipe(heading, module, **more):
    """What the Python block below a heading defines, written at the end of a module."""
    section = PAGE.split(f"### {heading}\n")[1].split("\n### ")[0]
    block = re.search(r"```python\n(.*?)```", section, re.DOTALL).group(1)
    names = vars(importlib.import_module(module)) | more
    exec(block, names)
    return names


def states(inputs, **options):
    return sbo.SBORNN(IN, D, rngs=nnx.Rngs(0), **options)(inputs)


@pytest.fixture
def inputs(rng):
    return jnp.asarray(rng.normal(size=(3, T, IN)), jnp.float32)


def test_a_solver(inputs):
    lower = recipe("A lower solver", "sbo_jax.lower.level", replace=replace, optax=optax)["lower"]
    steps = jnp.abs(jnp.diff(states(inputs, lower=lower), axis=1))
    moved = steps[steps > 0]  # where the gradient is not exactly 0
    np.testing.assert_allclose(moved, 1e-3, rtol=1e-3)
    assert moved.size > steps.size / 2


def test_an_energy(inputs, rng):
    energy = recipe("An energy", "sbo_jax.lower.energies")["Robust"]()
    theta = sbo.Dense.init(jax.random.key(int(rng.integers(2**31))), D)
    h, u, h_prev = jnp.asarray(rng.normal(size=(3, D)), jnp.float32)
    hessian = jax.hessian(lambda h: energy(h, u, theta, h_prev))(h)
    assert 0 < jnp.linalg.norm(hessian, 2) <= energy.smoothness(theta)
    assert jnp.all(jnp.isfinite(states(inputs, lower=replace(sbo.STABLE, problem=energy))))


def test_an_operator(inputs, rng):
    operator = recipe("An operator", "sbo_jax.lower.operators")["Symmetric"]
    theta = operator.init(jax.random.key(int(rng.integers(2**31))), D)
    dense = theta(jnp.eye(D))
    np.testing.assert_array_equal(dense, dense.T)
    assert jnp.linalg.norm(0.7 * jnp.eye(D) - dense, 2) <= theta.gap(0.7)
    for lower in (sbo.PAPER, sbo.STABLE):
        assert jnp.all(jnp.isfinite(states(inputs, lower=replace(lower, operator=operator.init))))


def test_a_rollout(inputs):
    truncated = recipe("A rollout", "sbo_jax.rollouts.unrolled")["Truncated"](3)
    np.testing.assert_allclose(states(inputs, rollout=truncated), states(inputs), rtol=1e-6)
    gradient = jax.grad(lambda x: jnp.sum(states(x, rollout=truncated)[:, -1]))(inputs)
    norms = jnp.linalg.norm(gradient, axis=(0, 2))
    assert jnp.all((norms > 0) == (jnp.arange(T) >= T - 3))


def test_a_task():
    task = recipe("A task", "sbo_jax.tasks.catalogue.digits", np=np)["load"](Request())
    inputs, targets = task.test.fetch(np.arange(len(task.test)))
    assert (task.length, task.in_features, task.out_features) == (50, 1, 2)
    first = inputs[:, 0, 0]
    assert first[targets == 0].max() < first[targets == 1].min()


def test_a_training_method():
    make = recipe("A training method", "sbo_jax.training.step")["sharpness_aware"]
    model = sbo.SequenceRegressor(sbo.SBORNN(IN, D, rngs=nnx.Rngs(0)), D, 1, rngs=nnx.Rngs(1))
    method, task = make(optax.adam(1e-2), 0.05), tasks.load("adding", length=8)
    epochs = [*fit(model, task, MSE, method, epochs=2, batch_size=500)]
    assert epochs[1].train_loss < epochs[0].train_loss


def test_a_metric():
    def absolute_error(predictions, targets):
        return jnp.mean(jnp.abs(predictions - targets), axis=-1)

    mae = recipe("A metric", "sbo_jax.training.objectives", absolute_error=absolute_error)["MAE"]
    assert mae.metric(jnp.asarray([[3.0, 1.0]]), jnp.zeros((1, 2))) == 2
    assert not mae.higher_is_better
