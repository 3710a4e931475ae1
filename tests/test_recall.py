"""Memories that are matrices, against the recurrences of the papers that they come from."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference

from sbo_jax.lower import (
    Association,
    Recall,
    heavy_ball,
    lower_step,
    proximal,
    ravelled,
    sgd,
)
from sbo_jax.lower.step import init_carry
from sbo_jax.rollouts import (
    Reading,
    SequenceEquilibrium,
    StepEquilibrium,
    Streamed,
    unroll,
    unroll_chunked,
)

T, B, HEADS, KEYS, VALUES = 9, 2, 3, 4, 5


def draw(rng, dtype=np.float64):
    """A memory, and associations with keys of norm 1."""
    keys = rng.normal(size=(T, B, HEADS, KEYS))
    keys /= np.linalg.norm(keys, axis=-1, keepdims=True)
    values, weights = rng.normal(size=(T, B, HEADS, VALUES)), rng.uniform(size=(T, B, HEADS))
    memory = rng.normal(size=(B, HEADS, VALUES, KEYS))
    written = Association(keys, values, weights)
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), (memory, written))


def outer(a, b):
    return a[..., :, None] * b[..., None, :]


def gradients(memory, k, v, beta):
    """Of beta/2 ||S k - v||^2, by NumPy."""
    return outer(beta[..., None] * (np.einsum("...vk,...k->...v", memory, k) - v), k)


def delta_rule(memory, written):
    """Schlag et al. 2021: S (I - beta k k^T) + beta v k^T."""
    for k, v, beta in zip(*written[:3], strict=True):
        decay = np.eye(KEYS) - beta[..., None, None] * outer(k, k)
        memory = memory @ decay + outer(beta[..., None] * v, k)
        yield memory


def titans(memory, written, rate, momentum, decay):
    """Behrouz et al. 2024: M = (1 - decay) M + s with s = momentum s - rate grad, at M before."""
    s = np.zeros_like(memory)
    for k, v, beta in zip(*written[:3], strict=True):
        s = momentum * s - rate * gradients(memory, k, v, beta)
        memory = (1 - decay) * memory + s
        yield memory


def longhorn(memory, written):
    """Liu et al. 2024: argmin ||S' - S||^2 + beta ||S' k - v||^2, a matrix inverse each step."""
    for k, v, beta in zip(*written[:3], strict=True):
        inverse = np.linalg.inv(np.eye(KEYS) + beta[..., None, None] * outer(k, k))
        memory = (memory + outer(beta[..., None] * v, k)) @ inverse
        yield memory


def as_numpy(tree):
    return jax.tree.map(np.asarray, tree)


RATE, MOMENTUM, DECAY = 0.3, 0.8, 0.05
RECURRENCES = {
    "delta rule": (lambda: sgd(1.0), delta_rule),
    "momentum": (
        lambda: heavy_ball(RATE, MOMENTUM),
        lambda memory, written: titans(memory, written, RATE, MOMENTUM, 0.0),
    ),
    "momentum and decay": (
        lambda: optax.chain(
            optax.trace(MOMENTUM), optax.add_decayed_weights(DECAY / RATE), optax.scale(-RATE)
        ),
        lambda memory, written: titans(memory, written, RATE, MOMENTUM, DECAY),
    ),
}


@pytest.mark.parametrize("name", RECURRENCES)
def test_an_optimiser_on_recall_is_the_recurrence_of_its_paper(name, x64, rng):
    solver, recurrence = RECURRENCES[name]
    exact = draw(rng)
    expected = np.stack(list(recurrence(*as_numpy(exact))))
    for dtype, tolerance in ((jnp.float64, 1e-10), (jnp.float32, 1e-5)):
        memory, written = jax.tree.map(lambda x, dtype=dtype: x.astype(dtype), exact)
        carry, memories = unroll(Recall(), solver(), memory, written, None)
        assert memories.dtype == dtype
        np.testing.assert_allclose(memories, expected, rtol=tolerance, atol=tolerance)
        np.testing.assert_array_equal(carry.h, memories[-1])


def test_a_solved_proximal_step_is_longhorn(x64, rng):
    memory, written = draw(rng)
    expected = np.stack(list(longhorn(*as_numpy((memory, written)))))
    # Of a Hessian between 1 and 2, each step of 2/3 leaves a third of the error.
    solver = sgd(2 / 3)
    carry = init_carry(solver, memory)
    rollout = StepEquilibrium(num_steps=30, damping=0.0, tolerance=1e-10)
    _, memories, info = rollout(Reading(proximal(Recall()), solver, carry, written, None))
    np.testing.assert_allclose(memories, expected, rtol=1e-10, atol=1e-10)
    assert np.all(info.converged)


def test_gradients_through_a_memory_are_those_of_the_recurrence(x64, rng):
    memory, written = draw(rng)
    weights = rng.normal(size=memory.shape)

    def ours(memory, written):
        return jnp.sum(weights * unroll(Recall(), sgd(1.0), memory, written, None)[0].h)

    def loss(**changed):
        arrays = {"memory": memory, **written._asdict()} | changed
        arrays = as_numpy(arrays)
        memories = delta_rule(arrays.pop("memory"), Association(**arrays))
        return np.sum(weights * list(memories)[-1])

    of_memory, of_written = jax.grad(ours, argnums=(0, 1))(memory, written)
    for name in ("memory", "key", "value", "weight"):
        found = of_memory if name == "memory" else getattr(of_written, name)
        value = memory if name == "memory" else getattr(written, name)
        in_one = lambda changed, name=name: loss(**{name: changed})  # noqa: E731
        expected = reference.finite_differences(in_one, np.asarray(value))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("chunk", [None, 2, 4])
def test_answers_are_read_step_by_step_and_states_are_not_kept(chunk, x64, rng):
    memory, written = draw(rng)
    asked = written._replace(query=jnp.asarray(rng.normal(size=written.key.shape)))
    options = {"read": Recall.read, "remat_chunk": chunk}
    carry, answers = unroll(Recall(), sgd(1.0), memory, asked, None, **options)
    last, memories = unroll(Recall(), sgd(1.0), memory, written, None)
    expected = np.einsum("t...vk,t...k->t...v", memories, asked.query)
    np.testing.assert_allclose(answers, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(carry.h, last.h, rtol=1e-12, atol=1e-12)


def test_a_masked_step_leaves_a_memory_and_its_momentum_alone(x64, rng):
    memory, written = draw(rng)
    solver, mask = heavy_ball(RATE, MOMENTUM), jnp.asarray(rng.random((T, B)) < 0.5)
    carry, memories = unroll(Recall(), solver, memory, written, None, mask=mask)
    for sample in range(B):
        kept = jax.tree.map(lambda x, sample=sample: x[mask[:, sample], sample], written)
        alone, _ = unroll(Recall(), solver, memory[sample], kept, None)
        for a, b in zip(jax.tree.leaves(carry), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[sample], b, rtol=1e-12, atol=1e-12)
    assert memories.shape == (T, *memory.shape)


def test_no_step_within_the_bound_expands_what_differs_between_memories(x64, rng):
    """eta L <= 1: the distance of two memories never grows, whatever is written."""
    memory, written = draw(rng)
    other = jnp.asarray(rng.normal(size=memory.shape))
    theirs, ours = (
        unroll(Recall(), sgd(1.0 / Recall().smoothness(None)), start, written, None)[1]
        for start in (memory, other)
    )
    differences = np.concatenate([[memory - other], theirs - ours])
    assert np.all(np.diff(np.linalg.norm(differences.reshape(T + 1, -1), axis=1)) <= 1e-12)


@pytest.mark.parametrize("inner_steps", [1, 3])
def test_a_state_may_be_a_network(inner_steps, x64, rng):
    """Sun et al. 2024 (TTT): a network of two layers, trained on k -> v while it is read."""
    _, written = draw(rng)
    start = {"in": rng.normal(size=(B, KEYS, 6)), "out": rng.normal(size=(B, 6, VALUES))}
    keys, values = written.key[:, :, 0], written.value[:, :, 0]

    def energy(net, u, theta, net_prev):
        key, value = u["key"], u["value"]
        hidden = jnp.tanh(jnp.einsum("...k,...kh->...h", key, net["in"]))
        return 0.5 * jnp.sum((jnp.einsum("...h,...hv->...v", hidden, net["out"]) - value) ** 2, -1)

    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), start)
    problem = ravelled(energy, shapes)
    h0 = problem.ravel(jax.tree.map(jnp.asarray, start))
    us = {"key": keys, "value": values}
    carry, states = unroll(problem, sgd(0.1), h0, us, None, inner_steps=inner_steps)
    for i in range(B):
        w, v = start["in"][i], start["out"][i]
        for t, (key, value) in enumerate(
            zip(np.asarray(keys[:, i]), np.asarray(values[:, i]), strict=True)
        ):
            for _ in range(inner_steps):
                hidden = np.tanh(key @ w)
                error = hidden @ v - value
                back = (v @ error) * (1 - hidden**2)
                w, v = w - 0.1 * outer(key, back), v - 0.1 * outer(hidden, error)
            found = problem.unravel(states[t, i])
            np.testing.assert_allclose(found["in"], w, rtol=1e-10, atol=1e-10)
            np.testing.assert_allclose(found["out"], v, rtol=1e-10, atol=1e-10)
    assert carry.h.shape == (B, 6 * (KEYS + VALUES))


def test_shapes_that_do_not_fit_are_refused(rng):
    memory, written = draw(rng, np.float32)
    with pytest.raises(ValueError, match="equally many time steps"):
        unroll(Recall(), sgd(1.0), memory, written._replace(value=written.value[1:]), None)
    with pytest.raises(ValueError, match=r"mask of .*, \(9, 2\), got \(9, 3\)"):
        unroll(Recall(), sgd(1.0), memory, written, None, mask=jnp.ones((T, HEADS), bool))
    with pytest.raises(ValueError, match=r"parameters that fit h of shape|energy of shape"):
        unroll(Recall(), sgd(1.0), memory[0], written, None)
    with pytest.raises(ValueError, match="parameters that fit h"):
        unroll(Recall(), sgd(1.0), jnp.swapaxes(memory, -1, -2), written, None)
    with pytest.raises(ValueError, match="queries of the shape of the keys"):
        unroll(Recall(), sgd(1.0), memory, written, None, read=Recall.read)
    with pytest.raises(ValueError, match="drives as an array of numbers"):
        unroll(Recall(), sgd(1.0), memory, written._replace(weight="1"), None)


@pytest.mark.parametrize("name", ["key", "value", "weight", "query"])
def test_axes_that_would_be_broadcast_are_refused(name, rng):
    """Whatever JAX allows: an axis of one, or one that is missing, is no axis of the batch."""
    memory, written = draw(rng, np.float32)
    written = written._replace(query=written.key)
    with jax.numpy_rank_promotion("allow"):
        for change in (lambda x: x[:, :1], lambda x: x[:, :, 0], lambda x: x[..., :1]):
            wrong = written._replace(**{name: change(getattr(written, name))})
            for read in (
                lambda w: unroll(Recall(), sgd(1.0), memory, w, None, read=Recall.read),
                lambda w: unroll_chunked(memory, w),
            ):
                with pytest.raises(ValueError, match=r"expected (a|queries|parameters)"):
                    read(wrong)


def test_an_equilibrium_of_the_sequence_refuses_associations(rng):
    memory, written = draw(rng, np.float32)
    reading = Reading(Recall(), sgd(1.0), init_carry(sgd(1.0), memory), written, None)
    for rollout in (SequenceEquilibrium(), Streamed()):
        with pytest.raises(ValueError, match="drives as one array, got Association"):
            rollout(reading)


def test_one_step_needs_no_sequence(x64, rng):
    memory, written = draw(rng)
    first = jax.tree.map(lambda x: x[0], written)
    carry = lower_step(Recall(), sgd(1.0), init_carry(sgd(1.0), memory), first, None)
    expected = next(delta_rule(*as_numpy((memory, written))))
    np.testing.assert_allclose(carry.h, expected, rtol=1e-12, atol=1e-12)
