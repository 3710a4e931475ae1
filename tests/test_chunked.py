"""Memories read by chunks against the same memories read step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sbo_jax.lower import Association, Recall, sgd
from sbo_jax.rollouts import unroll, unroll_chunked

B, HEADS, KEYS, VALUES = 2, 2, 4, 3


def step_by_step(memory, written, eta, mask=None):
    read = Recall().read
    carry, answers = unroll(Recall(), sgd(eta), memory, written, None, read=read, mask=mask)
    return carry.h, answers


def draw(rng, length, alike=0.0, dtype=np.float64, num_keys=KEYS):
    """Keys of norm 1, which all are nearly the same where `alike` is large."""
    keys = rng.normal(size=(length, B, HEADS, num_keys))
    keys += alike * rng.normal(size=(B, HEADS, num_keys))
    keys /= np.linalg.norm(keys, axis=-1, keepdims=True)
    values, weights = rng.normal(size=(length, B, HEADS, VALUES)), rng.uniform(size=keys.shape[:-1])
    memory, queries = rng.normal(size=(B, HEADS, VALUES, num_keys)), rng.normal(size=keys.shape)
    arrays = memory, Association(keys, values, weights, queries)
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), arrays)


@pytest.mark.parametrize("alike", [0.0, 100.0])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("length", "chunk"), [(1, 4), (8, 4), (21, 8), (33, 32), (5, 1)])
def test_chunks_are_the_steps_in_value_and_gradient(length, chunk, masked, alike, x64, rng):
    arrays = draw(rng, length, alike)
    eta, weights = rng.uniform(0.1, 1), draw(rng, length)
    mask = jnp.asarray(rng.random((length, B)) < 0.7) if masked else None

    def loss(read):
        def of(memory, written, eta):
            last, answers = read(memory, written, eta)
            return jnp.sum(last * weights[0]) + jnp.sum(answers * weights[1].value)

        return jax.value_and_grad(of, argnums=(0, 1, 2))

    ours = loss(lambda m, w, eta: unroll_chunked(m, w, eta=eta, mask=mask, chunk=chunk))
    theirs = loss(lambda m, w, eta: step_by_step(m, w, eta, mask))
    found, expected = ours(*arrays, eta), theirs(*arrays, eta)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10 * max(1, np.abs(b).max()))


@pytest.mark.parametrize("alike", [0.0, 10.0, 1000.0])
def test_float32_is_exact_to_its_digits(alike, x64, rng):
    """Products of powers of L would be lost where keys are alike: they grow as binomials."""
    exact = draw(rng, 200, alike)
    rounded = jax.tree.map(lambda x: x.astype(jnp.float32), exact)
    _, expected = step_by_step(*exact, 1.0)
    _, answers = unroll_chunked(*rounded)
    assert answers.dtype == jnp.float32
    assert np.abs(answers - expected).max() <= 1e-5 * np.abs(expected).max()


def test_forward_mode_is_the_reverse_of_reverse_mode(x64, rng):
    memory, written = draw(rng, 13)
    directions = draw(rng, 13)

    def loss(memory, written):
        last, answers = unroll_chunked(memory, written, chunk=8)
        return jnp.sum(last**2) + jnp.sum(answers**2)

    _, forward = jax.jvp(loss, (memory, written), directions)
    gradients = jax.grad(loss, argnums=(0, 1))(memory, written)
    pairs = zip(jax.tree.leaves(gradients), jax.tree.leaves(directions), strict=True)
    reverse = sum(jnp.sum(gradient * direction) for gradient, direction in pairs)
    np.testing.assert_allclose(forward, reverse, rtol=1e-9)


def test_nothing_of_a_masked_step_comes_in(rng):
    memory, written = draw(rng, 20, dtype=np.float32)
    mask = jnp.asarray(rng.random((20, B)) < 0.7)

    def poisoned(xs):
        return jnp.where(jnp.expand_dims(mask, range(2, xs.ndim)), xs, jnp.nan)

    dirty = Association(*map(poisoned, written[:3]), written.query)
    for found, expected in zip(
        unroll_chunked(memory, dirty, mask=mask),
        step_by_step(memory, written, 1.0, mask),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_memory_decides_the_type(x64, rng):
    memory, written = draw(rng, 9, dtype=np.float32)
    for dtype in (jnp.bfloat16, jnp.float64):
        last, answers = unroll_chunked(memory.astype(dtype), written, eta=np.float64(0.5))
        assert last.dtype == answers.dtype == dtype


def test_half_a_sequence_goes_on_where_it_ended(x64, rng):
    memory, written = draw(rng, 19)
    whole = unroll_chunked(memory, written, chunk=8)
    first, second = (
        jax.tree.map(lambda x, part=part: x[part], written)
        for part in (slice(0, 7), slice(7, None))
    )
    middle, _ = unroll_chunked(memory, first, chunk=8)
    last, answers = unroll_chunked(middle, second, chunk=8)
    np.testing.assert_allclose(last, whole[0], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(answers, whole[1][7:], rtol=1e-10, atol=1e-10)


def test_nothing_is_written_by_no_steps(rng):
    memory, written = draw(rng, 0, dtype=np.float32)
    last, answers = unroll_chunked(memory, written)
    np.testing.assert_array_equal(last, memory)
    assert answers.shape == (0, B, HEADS, VALUES)


def test_what_does_not_fit_is_refused(rng):
    memory, written = draw(rng, 6, dtype=np.float32)
    with pytest.raises(ValueError, match="power of two of steps per chunk, got 6"):
        unroll_chunked(memory, written, chunk=6)
    with pytest.raises(ValueError, match="chunk"):
        unroll_chunked(memory, written, chunk=0)
    with pytest.raises(ValueError, match="eta as one number"):
        unroll_chunked(memory, written, eta=jnp.ones(3))
    with pytest.raises(ValueError, match="floating-point numbers"):
        unroll_chunked(memory.astype(int), written)
    for queries in (None, written.query[..., 1:]):
        with pytest.raises(ValueError, match="queries of the shape of the keys"):
            unroll_chunked(memory, written._replace(query=queries))
    with pytest.raises(ValueError, match=r"mask of shape .*, got \(6, 1\)"):
        unroll_chunked(memory, written, mask=jnp.ones((6, 1), bool))
    with pytest.raises(ValueError, match=r"parameters that fit|energy of shape"):
        unroll_chunked(memory[..., :1, :], written)
