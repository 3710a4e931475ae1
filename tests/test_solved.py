"""Memories that are solved for, against dense solves and against the energy that they minimise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from test_chunked import draw

from sbo_jax.linear_solvers import CG
from sbo_jax.lower import Recall, sgd
from sbo_jax.lower.composed import averaged
from sbo_jax.rollouts import Moments, solve_implicit, unroll_solved


def ridge(moments, written, damping, mask=None):
    """S_t q_t by NumPy's dense solver, step by step, and the moments after all of them."""
    keys, values = (np.array(moment) for moment in moments)
    answers = []
    for t, (k, v, beta, q) in enumerate(zip(*map(np.asarray, written), strict=True)):
        beta = beta if mask is None else beta * np.asarray(mask)[t][:, None]
        keys += beta[..., None, None] * k[..., :, None] * k[..., None, :]
        values += beta[..., None, None] * v[..., :, None] * k[..., None, :]
        x = np.linalg.solve(keys + damping * np.eye(k.shape[-1]), q[..., None])
        answers.append((values @ x)[..., 0])
    return Moments(keys, values), np.stack(answers)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("length", "chunk"), [(1, 4), (8, 4), (21, 8), (33, 64), (5, 1)])
def test_answers_are_those_of_a_dense_solve(length, chunk, masked, x64, rng):
    memory, written = draw(rng, length)
    damping = rng.uniform(0.1, 2)
    mask = jnp.asarray(rng.random((length, 2)) < 0.7) if masked else None
    options = {"damping": damping, "mask": mask, "chunk": chunk}
    for linear_solver in (None, CG(num_steps=20, tolerance=1e-12)):
        ends, answers, residuals = unroll_solved(
            Moments.of(memory), written, linear_solver=linear_solver, **options
        )
        tolerance = 1e-5 if linear_solver is None else 1e-10
        assert residuals.shape == written.weight.shape
        assert residuals.max() <= tolerance
        expected, exact = ridge(Moments.of(memory), written, damping, mask)
        np.testing.assert_allclose(
            answers, exact, rtol=tolerance, atol=tolerance * np.abs(exact).max()
        )
        for found, moment in zip(ends, expected, strict=True):
            np.testing.assert_allclose(found, moment, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("num_keys", "damping"), [(4, 1.0), (64, 1.0), (64, 0.1)])
def test_float32_is_exact_to_its_digits(num_keys, damping, x64, rng):
    memory, written = draw(rng, 200, num_keys=num_keys)
    _, exact = ridge(Moments.of(memory), written, damping)
    rounded = jax.tree.map(lambda x: x.astype(jnp.float32), (memory, written))
    _, answers, residuals = unroll_solved(Moments.of(rounded[0]), rounded[1], damping=damping)
    assert answers.dtype == residuals.dtype == jnp.float32
    assert np.abs(answers - exact).max() <= 1e-5 * np.abs(exact).max()
    assert residuals.max() <= 1e-5


def test_a_residual_says_where_a_solution_is_none(rng):
    memory, written = draw(rng, 200, num_keys=64, dtype=np.float32)
    options = {"damping": 0.01, "linear_solver": CG(num_steps=3)}
    _, _, residuals = unroll_solved(Moments.of(memory), written, **options)
    assert residuals[-1].min() > 1e-3


def test_gradients_are_those_of_the_dense_solve(x64, rng):
    memory, written = draw(rng, 7)
    weights, solver = rng.normal(size=(7, *memory.shape[:-1])), CG(num_steps=20, tolerance=1e-12)

    def ours(written):
        options = {"damping": 0.5, "chunk": 4, "linear_solver": solver}
        return jnp.sum(weights * unroll_solved(Moments.of(memory), written, **options)[1])

    def theirs(**changed):
        arrays = written._replace(**changed)
        return np.sum(weights * ridge(Moments.of(memory), arrays, 0.5)[1])

    found = jax.grad(ours)(written)
    for name, value in written._asdict().items():
        in_one = lambda changed, name=name: theirs(**{name: changed})  # noqa: E731
        expected = reference.finite_differences(in_one, np.asarray(value))
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("chunk", [None, 5])
def test_a_solved_memory_minimises_recall_over_all_steps(chunk, x64, rng):
    """The equilibrium of the averaged energy, whose damping is shared among the steps' weights."""
    memory, written = draw(rng, 12)
    steps = jnp.ones(written.weight.shape)
    minimum, info = solve_implicit(
        averaged(Recall(), chunk),
        sgd(0.9),
        jnp.zeros_like(memory),
        (written, steps[..., None]),
        None,
        damping=0.6 / 12,
        num_steps=3000,
        tolerance=1e-9,
    )
    assert np.all(info.converged)
    _, answers, _ = unroll_solved(
        Moments.of(memory), written, damping=0.6, linear_solver=CG(20, 1e-12)
    )
    expected = np.einsum("...vk,...k->...v", minimum, written.query[-1])
    np.testing.assert_allclose(answers[-1], expected, rtol=1e-6, atol=1e-6)


def test_pieces_are_the_whole(x64, rng):
    memory, written = draw(rng, 19)
    whole, answers, _ = unroll_solved(Moments.of(memory), written, damping=1.0, chunk=8)
    pieces = [
        jax.tree.map(lambda x, part=part: x[part], written) for part in (slice(7), slice(7, None))
    ]
    middle, first, _ = unroll_solved(Moments.of(memory), pieces[0], damping=1.0, chunk=8)
    ends, second, _ = unroll_solved(middle, pieces[1], damping=1.0, chunk=8)
    np.testing.assert_allclose(np.concatenate([first, second]), answers, rtol=1e-5, atol=1e-5)
    for found, expected in zip(ends, whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_what_does_not_fit_is_refused(rng):
    memory, written = draw(rng, 6, dtype=np.float32)
    moments = Moments.of(memory)
    for damping in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="damping"):
            unroll_solved(moments, written, damping=damping)
    with pytest.raises(ValueError, match=r"try Moments\.of"):
        unroll_solved(Moments(memory, memory), written, damping=1.0)
    with pytest.raises(ValueError, match="power of two"):
        unroll_solved(moments, written, damping=1.0, chunk=3)
    with pytest.raises(ValueError, match="queries of the shape of the keys"):
        unroll_solved(moments, written._replace(query=None), damping=1.0)
