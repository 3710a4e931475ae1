"""The rollout as TPU kernels against the rollout step by step: interpreted, and lowered to Mosaic.

`InterpretParams` simulates a TPU's memory, with a look for races; True computes alone, and faster.
"""

import math
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh
from test_fused import OPERATORS, PROBLEMS, SOLVERS, D, T, draw, outcome

import sbo_jax as sbo
from sbo_jax.lower.energies import Residual
from sbo_jax.lower.operators import Dense, LowRank
from sbo_jax.lower.solvers import sgd
from sbo_jax.rollouts import ExperimentalFusedTPU
from sbo_jax.rollouts.fused_tpu import experimental_unroll_fused_tpu
from sbo_jax.rollouts.kernels.tpu import TPUKernels
from sbo_jax.rollouts.unrolled import unroll

interpreted = partial(experimental_unroll_fused_tpu, interpret=True, batch_block=16)


def compare(rng, rollout, arguments, problem, solver, mask, tolerance):
    shape = arguments[1].shape
    weights = jnp.asarray(rng.normal(size=shape), arguments[1].dtype)
    options = (problem, SOLVERS[solver], weights, mask)
    actual = outcome(rollout, *options)(*arguments)
    expected = outcome(unroll, *options)(*arguments)
    chex.assert_trees_all_close(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("masked", [False, True])
def test_it_equals_step_by_step_in_chunks_of_any_size(x64, rng, operator, solver, masked):
    batch = [(), (3,), (20,), (2, 9)][rng.integers(4)]
    arguments = draw(rng, operator, batch, jnp.float64)
    mask = jnp.asarray(rng.random((T, *batch)) < 0.7) if masked else None
    rollout = partial(interpreted, chunk=int(rng.integers(1, T + 3)))
    problem = PROBLEMS[rng.choice(list(PROBLEMS))]
    compare(rng, rollout, arguments, problem, solver, mask, 1e-9)


@pytest.mark.slow
def test_it_holds_in_a_simulated_memory_without_races(rng):
    arguments = draw(rng, "dense", (20,), jnp.float32)
    mask = jnp.asarray(rng.random((T, 20)) < 0.7)
    memory = pltpu.InterpretParams(detect_races=True)
    rollout = partial(experimental_unroll_fused_tpu, batch_block=16, chunk=4, interpret=memory)
    compare(rng, rollout, arguments, Residual(), "nesterov", mask, 1e-3)


def test_a_layer_reads_its_sequence_in_kernels(rng):
    inputs = jnp.asarray(rng.normal(size=(3, T, 2)), jnp.float32)
    fused, plain = (
        sbo.SBORNN(2, D, num_layers=2, rollout=rollout, rngs=nnx.Rngs(0))
        for rollout in (ExperimentalFusedTPU(interpret=True), sbo.Unrolled())
    )
    chex.assert_trees_all_close(fused(inputs), plain(inputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("operator", OPERATORS)
def test_both_kernels_lower_to_mosaic(rng, operator):
    arguments = draw(rng, operator, (20,), jnp.float32)
    mask = jnp.asarray(rng.random((T, 20)) < 0.7)
    options = (Residual(), SOLVERS["heavy ball"], jnp.ones((T, 20, D)), mask)
    v5e = AbstractDevice("TPU v5 lite", num_cores=1, platform="tpu")
    with use_abstract_mesh(AbstractMesh((), (), abstract_device=v5e)):
        traced = outcome(experimental_unroll_fused_tpu, *options).trace(*arguments)
        text = traced.lower(lowering_platforms=("tpu",)).as_text()
    assert text.count("tpu_custom_call") == 2


def test_fewer_steps_share_a_smaller_memory(rng, monkeypatch):
    chunks = []

    def carries(kernels, *arguments):
        chunks.append(kernels.chunk)
        return original(kernels, *arguments)

    original = TPUKernels.carries
    monkeypatch.setattr(TPUKernels, "carries", carries)
    h0, us, theta, *_ = draw(rng, "dense", (20,), jnp.float32)
    fits = 2**20
    while not chunks or chunks[-1] > 1:
        interpreted(Residual(), sgd(0.1), h0, us, theta, vmem_bytes=fits)
        fits = math.floor(0.9 * fits)
    assert sorted(chunks, reverse=True) == chunks
    assert chunks[0] > 5
    with pytest.raises(ValueError, match=r"fit .* of VMEM, got .*; try more vmem_bytes"):
        interpreted(Residual(), sgd(0.1), h0, us, theta, vmem_bytes=fits // 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_block": 24}, "a batch_block in multiples of 16, got 24"),
        ({"chunk": 0}, "chunk as a whole number >= 1"),
        ({"vmem_bytes": -1}, "vmem_bytes as a whole number >= 1"),
        ({"solver": optax.adam(1e-3)}, "one number per unit"),
    ],
)
def test_what_a_kernel_cannot_hold_is_refused(change, message):
    arguments = {
        "problem": Residual(),
        "solver": sgd(0.1),
        "h0": jnp.zeros((3, D)),
        "us": jnp.zeros((T, 3, D)),
        "theta": Dense(np.zeros((D, D), np.float32)),
    }
    with pytest.raises(ValueError, match=message):
        interpreted(**arguments | change)


def test_units_and_ranks_need_not_be_powers_of_two(rng):
    theta = LowRank.init(jax.random.key(0), 12, rank=5)
    h0, us = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((3, 12), (T, 3, 12)))
    found = interpreted(Residual(), sgd(0.1), h0, us, theta)
    chex.assert_trees_all_close(found, unroll(Residual(), sgd(0.1), h0, us, theta), atol=1e-5)
