"""Implicit differentiation against long unrolls, dense solves, optimistix, finite differences."""

from dataclasses import dataclass, replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
import pytest
import reference
from compiled import call, grad
from flax import nnx

import sbo_jax as sbo
from sbo_jax.linear_solvers import CG, BiCGStab
from sbo_jax.rollouts.implicit import ProblemData
from sbo_jax.rollouts.reading import Reading

T, B, D = 4, 3, 5
SOLVER = sbo.nesterov(0.15, 0.8)
EXACT = {"cg": CG(30, 1e-14), "bicgstab": BiCGStab(30, 1e-14)}
ACTIVATIONS = {"softplus": jax.nn.softplus, "tanh": jnp.tanh}


def draw(rng):
    theta = sbo.LowRank(*(jnp.asarray(0.4 * rng.normal(size=s)) for s in ((D, 2), (2, D))))
    return jnp.asarray(rng.normal(size=(B, D))), theta, jnp.asarray(rng.normal(size=(B, D)))


def implicit_gradient(problem, u, theta, weights, h0=None, **options):
    def loss(u, theta):
        start = jnp.zeros((B, D)) if h0 is None else h0
        options.setdefault("linear_solver", EXACT["cg"])
        h, info = sbo.solve_implicit(problem, SOLVER, start, u, theta, num_steps=3000, **options)
        return jnp.sum(weights * h), info

    value_and_grad = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (_, info), gradient = value_and_grad(u, theta)
    return gradient, info


@pytest.mark.parametrize("linear_solver", EXACT)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_implicit_gradient_equals_a_long_unroll(x64, rng, activation, linear_solver):
    u, theta, weights = draw(rng)
    problem = sbo.Residual(ACTIVATIONS[activation])
    solver = EXACT[linear_solver]
    ours, info = implicit_gradient(problem, u, theta, weights, damping=0.5, linear_solver=solver)

    def unrolled(u, theta):
        carry = sbo.lower.init_carry(SOLVER, jnp.zeros((B, D)))
        problem_ = sbo.lower.damped(problem, 0.5)
        h = sbo.lower_step(problem_, SOLVER, carry, u, theta, inner_steps=3000).h
        return jnp.sum(weights * h)

    assert np.all(info.converged)
    chex.assert_trees_all_close(
        ours, jax.jit(jax.grad(unrolled, argnums=(0, 1)))(u, theta), atol=1e-8
    )


def test_implicit_gradient_equals_a_dense_solve_optimistix_and_finite_differences(x64, rng):
    u, theta, weights = draw(rng)
    problem = sbo.Residual(jax.nn.softplus)
    ours, _ = implicit_gradient(problem, u, theta, weights, damping=0.5)

    def energy(h, arguments):
        u, theta = arguments
        return jnp.sum(sbo.lower.damped(problem, 0.5)(h, u, theta, h))

    def solution(u, theta):
        return optimistix.minimise(
            energy,
            optimistix.BFGS(rtol=1e-13, atol=1e-13),
            jnp.zeros((B, D)),
            (u, theta),
            max_steps=4000,
        ).value

    h_star = jax.jit(solution)(u, theta)
    total = jax.grad(lambda *a: jnp.sum(weights * solution(*a)), argnums=(0, 1))
    theirs = jax.jit(total)(u, theta)
    chex.assert_trees_all_close(ours, theirs, atol=1e-8)

    gradient = jax.grad(energy)
    hessian = jax.jacfwd(gradient)(h_star, (u, theta)).reshape(B * D, B * D)
    w = jnp.linalg.solve(hessian, weights.ravel()).reshape(B, D)
    _, pull = jax.vjp(lambda arguments: gradient(h_star, arguments), (u, theta))
    chex.assert_trees_all_close(ours, pull(-w)[0], atol=1e-8)

    @jax.jit
    def newton(u):
        h = h_star
        for _ in range(8):
            flat = jax.jacfwd(gradient)(h, (u, theta)).reshape(B * D, B * D)
            h = h - jnp.linalg.solve(flat, gradient(h, (u, theta)).ravel()).reshape(B, D)
        return jnp.sum(weights * h)

    numeric = reference.finite_differences(lambda u: float(newton(u)), np.array(u), 1e-5)
    np.testing.assert_allclose(ours[0], numeric, atol=1e-8)


def test_a_residual_that_is_no_gradient_is_solved_with_a_non_symmetric_solver(x64, rng):
    u, theta, weights = draw(rng)
    h_prev = jnp.asarray(rng.normal(size=(B, D)))
    problem = sbo.lower.IncrementalEquilibrium(alpha=3.0)

    def loss(h_prev, u, theta):
        h, info = sbo.solve_implicit(
            problem, SOLVER, h_prev, u, theta, num_steps=2000, linear_solver=EXACT["bicgstab"]
        )
        return jnp.sum(weights * h), (h, info)

    value_and_grad = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
    (_, (h, info)), gradient = value_and_grad(h_prev, u, theta)
    assert np.all(info.converged)
    np.testing.assert_allclose(problem.residual(h, u, theta, h_prev), 0, atol=1e-10)
    # h + h_prev depends on u and theta alone, so dh/dh_prev = -I: iRNN's identity gradient
    np.testing.assert_allclose(gradient[0], -weights, atol=1e-9)
    jacobian = jax.vmap(jax.jacfwd(lambda h, u, p: problem.residual(h, u, theta, p)))(h, u, h_prev)
    w = np.linalg.solve(np.swapaxes(jacobian, 1, 2), np.asarray(weights)[..., None])[..., 0]
    _, pull = jax.vjp(lambda u, theta: problem.residual(h, u, theta, h_prev), u, theta)
    chex.assert_trees_all_close(gradient[1:], pull(-jnp.asarray(w)), atol=1e-9)
    w_cg, adjoint = sbo.rollouts.solve_adjoint(
        problem, h, ProblemData(u, theta, h_prev), weights, EXACT["bicgstab"]
    )
    np.testing.assert_allclose(w_cg, w, atol=1e-9)
    assert np.all(adjoint.converged)


def test_relu_is_reported_as_not_converged(rng):
    theta = sbo.Dense(jnp.asarray(rng.normal(size=(D, D)), jnp.float32))
    u = jnp.asarray(rng.normal(size=(64, D)), jnp.float32)
    eta = 1 / sbo.Residual().smoothness(theta)
    _, info = sbo.solve_implicit(
        sbo.Residual(), sbo.sgd(eta), jnp.zeros((64, D)), u, theta, num_steps=2000, tolerance=1e-5
    )
    assert not np.all(info.converged)
    assert np.all(info.converged == (info.grad_norm <= 1e-5))


def test_a_singular_hessian_is_reported_and_damping_mends_it(x64, rng):
    u, _, weights = draw(rng)
    problem, flat = sbo.Residual(jax.nn.identity), sbo.Dense(jnp.zeros((D, D)))  # F = |u|^2 / 2
    inputs = ProblemData(u, flat, jnp.zeros((B, D)))
    w, info = sbo.rollouts.solve_adjoint(problem, u, inputs, weights, EXACT["cg"])
    assert not np.any(info.converged)
    np.testing.assert_allclose(info.value, 1)
    assert np.all(np.isfinite(w))
    w, info = sbo.rollouts.solve_adjoint(
        sbo.lower.damped(problem, 0.5), u, inputs, weights, EXACT["cg"]
    )
    assert np.all(info.converged)
    np.testing.assert_allclose(w, 2 * weights, rtol=1e-10)


@pytest.mark.parametrize("solver", [CG(2, 1e-12), BiCGStab(2, 1e-12)])
def test_an_adjoint_that_stops_early_says_so_with_its_residual(x64, rng, solver):
    u, theta, weights = draw(rng)
    problem = sbo.lower.damped(sbo.Residual(jax.nn.softplus), 0.01)
    h = jnp.zeros((B, D))
    w, info = sbo.rollouts.solve_adjoint(problem, h, ProblemData(u, theta, h), weights, solver)
    hessian = jax.vmap(lambda h, u: jax.hessian(problem)(h, u, theta, h))(h, u)
    residual = np.linalg.norm(np.einsum("bij,bj->bi", hessian, w) - weights, axis=-1)
    assert not np.any(info.converged)
    np.testing.assert_allclose(info.grad_norm, residual, rtol=1e-9)


@pytest.mark.parametrize("solver", [CG(40, 1e-12), BiCGStab(40, 1e-12)])
def test_samples_are_solved_each_on_its_own(x64, rng, solver):
    matrices = rng.normal(size=(B, D, D))
    matrices = jnp.asarray(np.eye(D) + np.einsum("bij,bkj->bik", matrices, matrices))
    b = jnp.asarray(rng.normal(size=(B, D))).at[1].set(0.0)
    together = solver(lambda x: jnp.einsum("bij,bj->bi", matrices, x), b)
    expected = np.linalg.solve(matrices, np.asarray(b)[..., None])[..., 0]
    np.testing.assert_allclose(together.x, expected, atol=1e-9)
    for i in range(B):
        alone = solver(lambda x, i=i: x @ matrices[i].T, b[i])
        np.testing.assert_allclose(together.x[i], alone.x, atol=1e-10)


def test_policies_act_only_where_the_adjoint_failed(x64, rng):
    u, theta, weights = draw(rng)
    problem = sbo.Residual(jax.nn.softplus)
    exact, _ = implicit_gradient(problem, u, theta, weights, damping=0.5)
    fallback = sbo.rollouts.UnrolledGradient(eta=0.2, num_steps=4000)
    options = {"damping": 0.5, "policy": fallback}
    lazy, _ = implicit_gradient(problem, u, theta, weights, linear_solver=CG(1), **options)
    plain, _ = implicit_gradient(problem, u, theta, weights, linear_solver=CG(1), damping=0.5)
    chex.assert_trees_all_close(lazy, exact, atol=1e-8)
    assert not np.allclose(plain[0], exact[0], atol=1e-4)
    kept, _ = implicit_gradient(problem, u, theta, weights, damping=0.5, policy=fallback)
    chex.assert_trees_all_close(kept, exact, atol=1e-10)


def test_a_failed_adjoint_warns_on_the_host_if_asked(rng):
    u, theta, weights = jax.tree.map(lambda x: x.astype(jnp.float32), draw(rng))
    options = {"damping": 0.1, "linear_solver": CG(1), "policy": sbo.rollouts.warn}

    def solve():
        implicit_gradient(sbo.Residual(jax.nn.softplus), u, theta, weights, **options)
        jax.effects_barrier()

    with pytest.warns(RuntimeWarning, match="3 of 3 samples did not converge"):
        solve()


def test_the_unrolled_fallback_is_the_gradient_of_unrolled_steps_at_the_solution(x64, rng):
    u, theta, weights = draw(rng)
    problem = sbo.lower.damped(sbo.Residual(jax.nn.softplus), 0.5)
    h_star, _ = sbo.solve_implicit(problem, SOLVER, jnp.zeros((B, D)), u, theta, num_steps=3000)

    def unrolled(u):
        carry = sbo.lower.init_carry(sbo.sgd(0.2), h_star)
        return jnp.sum(
            weights * sbo.lower_step(problem, sbo.sgd(0.2), carry, u, theta, inner_steps=6).h
        )

    policy = sbo.rollouts.UnrolledGradient(eta=0.2, num_steps=6)
    ours, _ = implicit_gradient(
        problem, u, theta, weights, linear_solver=CG(1, 1e-14), policy=policy
    )
    np.testing.assert_allclose(ours[0], jax.grad(unrolled)(u), atol=1e-9)


def test_learned_hyperparameters_get_no_gradient_and_break_nothing(rng):
    u, theta, weights = jax.tree.map(lambda x: x.astype(jnp.float32), draw(rng))

    @jax.jit
    @jax.grad
    def gradient(eta):
        h, _ = sbo.solve_implicit(
            sbo.Residual(jax.nn.softplus), sbo.sgd(eta), weights, u, theta, num_steps=5, damping=0.1
        )
        return jnp.sum(h)

    assert gradient(0.1) == 0


def test_memory_of_a_gradient_does_not_grow_with_the_number_of_steps(rng):
    u, theta, weights = jax.tree.map(lambda x: x.astype(jnp.float32), draw(rng))

    def temporary_bytes(num_steps):
        def loss(u, theta):
            h, _ = sbo.solve_implicit(
                sbo.Residual(jax.nn.softplus),
                SOLVER,
                weights,
                u,
                theta,
                num_steps=num_steps,
                damping=0.1,
            )
            return jnp.sum(h)

        compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(u, theta).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary_bytes(1000) == temporary_bytes(10)


def layer(rng, rollout, phi=jax.nn.softplus, problem=None, seed=None):
    lower = replace(
        sbo.EQUILIBRIUM,
        problem=problem or sbo.Residual(phi),
        eta=sbo.Positive(0.15),
        mu=sbo.Bounded(0.8),
    )
    seed = int(rng.integers(2**31)) if seed is None else seed
    return sbo.SBORNN(
        2, D, lower=lower, rollout=rollout, param_dtype=jnp.float64, rngs=nnx.Rngs(seed)
    )


ROLLOUTS = {
    "sequence": sbo.SequenceEquilibrium(num_steps=400),
    "step": sbo.StepEquilibrium(num_steps=300),
    "streamed": sbo.Streamed(passes=3),
}


@pytest.mark.parametrize("rollout", ROLLOUTS)
def test_every_rollout_is_reachable_from_the_layer_and_reports(x64, rng, rollout):
    rnn = layer(rng, ROLLOUTS[rollout])
    xs = jnp.asarray(rng.normal(size=(B, T, 2)))
    carries, hs, (info,) = call(rnn, xs, return_info=True)
    assert hs.shape == (B, T, D)
    np.testing.assert_array_equal(carries[0].h, hs[:, -1])
    assert np.all(np.isfinite(info.grad_norm))
    assert np.all(info.converged) == (rollout != "streamed")
    gradient = grad(lambda rnn: jnp.sum(rnn(xs)[:, -1] ** 2))(rnn)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(nnx.to_pure_dict(gradient)))
    assert np.any(gradient["cells"][0]["theta"]["u"][...] != 0)


def test_sequence_equilibrium_is_stationary_for_the_mean_energy_of_the_valid_steps(x64, rng):
    rnn = layer(rng, ROLLOUTS["sequence"])
    xs, mask = jnp.asarray(rng.normal(size=(1, T, 2))), jnp.asarray([[True, False, True, True]])
    h = call(rnn, xs, mask=mask)[:, -1]
    cell = rnn.cells[0]
    us = [cell.drive(xs[:, t]) for t in (0, 2, 3)]
    theta = nnx.as_pure(cell.theta)
    mean = sum(sbo.lower.lower_gradient(cell.problem, h, u, theta, h) for u in us) / 3
    np.testing.assert_allclose(mean + 0.1 * h, 0, atol=1e-9)
    np.testing.assert_allclose(call(rnn, xs[:, np.array([0, 2, 3])])[:, -1], h, atol=1e-9)


def test_step_equilibrium_of_the_transition_is_the_vanilla_rnn_with_its_bptt_gradient(x64, rng):
    seed = int(rng.integers(2**31))
    undamped = sbo.StepEquilibrium(num_steps=600, damping=0.0, linear_solver=EXACT["cg"])
    implicit = layer(rng, undamped, problem=sbo.Transition(), seed=seed)
    explicit = sbo.SBORNN(
        2,
        D,
        lower=replace(sbo.PAPER, eta=sbo.Fixed(1.0), problem=sbo.Transition()),
        param_dtype=jnp.float64,
        rngs=nnx.Rngs(seed),
    )
    xs = jnp.asarray(rng.normal(size=(B, T, 2)))
    np.testing.assert_allclose(call(implicit, xs), call(explicit, xs), atol=1e-9)

    def gradient(rnn):
        pure = nnx.to_pure_dict(grad(lambda rnn: jnp.sum(jnp.sin(rnn(xs))))(rnn))
        return {k: v for k, v in pure["cells"][0].items() if k not in ("eta", "mu")}

    chex.assert_trees_all_close(gradient(implicit), gradient(explicit), atol=1e-8)


@pytest.mark.parametrize("kind", [sbo.SequenceEquilibrium, sbo.Streamed])
@pytest.mark.parametrize("problem", [sbo.Transition(), sbo.lower.proximal(sbo.Residual())])
def test_an_average_energy_of_the_state_before_is_refused(x64, rng, kind, problem):
    """Its h_prev would be the first of all, whose theta a transition then never uses."""
    xs = jnp.asarray(rng.normal(size=(B, T, 2)))
    with pytest.raises(ValueError, match=r"h_prev plays no part, got .*; try StepEquilibrium"):
        layer(rng, kind(), problem=problem)(xs)


def test_a_masked_step_equilibrium_leaves_the_state(x64, rng):
    rnn = layer(rng, ROLLOUTS["step"])
    xs, mask = jnp.asarray(rng.normal(size=(1, T, 2))), jnp.asarray([[True, False, False, True]])
    hs = call(rnn, xs, mask=mask)
    np.testing.assert_array_equal(hs[:, 1], hs[:, 0])
    np.testing.assert_array_equal(hs[:, 2], hs[:, 0])


def test_streamed_ends_where_the_rollout_on_the_damped_energy_ends(x64, rng):
    rnn = layer(rng, sbo.Streamed(passes=2))
    xs = jnp.asarray(rng.normal(size=(B, T, 2)))
    cell = rnn.cells[0]
    us = jnp.tile(cell.drive(jnp.swapaxes(xs, 0, 1)), (2, 1, 1))
    _, hs = sbo.unroll(
        sbo.lower.damped(cell.problem, 0.1),
        cell.lower_solver(),
        jnp.zeros((B, D)),
        us,
        nnx.as_pure(cell.theta),
    )
    np.testing.assert_allclose(call(rnn, xs)[:, -1], hs[-1], atol=1e-12)


def test_streamed_backward_memory_does_not_grow_with_time_beyond_the_drives(rng):
    batch, features = 8, 32
    theta = sbo.LowRank.init(jax.random.key(0), features)
    problem = sbo.Residual(jax.nn.softplus)

    def extra_arrays(length, rollout):
        """Temporary memory in units of the drives."""

        def loss(us, theta):
            carry = sbo.lower.init_carry(SOLVER, jnp.zeros((batch, features)))
            return jnp.sum(rollout(Reading(problem, SOLVER, carry, us, theta))[0].h)

        us = jax.ShapeDtypeStruct((length, batch, features), jnp.float32)
        compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(us, theta).compile()
        return compiled.memory_analysis().temp_size_in_bytes / (4 * us.size)

    assert extra_arrays(6400, sbo.Streamed()) <= 2.5
    assert extra_arrays(6400, sbo.Unrolled()) >= 3.5


@pytest.mark.parametrize("chunk", [1, 3, 4])
def test_chunks_of_an_average_change_nothing(x64, rng, chunk):
    _, theta, _ = draw(rng)
    h, us = jnp.asarray(rng.normal(size=(B, D))), jnp.asarray(rng.normal(size=(T, B, D)))
    weights = jnp.asarray(rng.random((T, B)))
    for problem in (sbo.Residual(jnp.tanh), sbo.lower.IncrementalEquilibrium()):
        whole, chunked = (
            sbo.lower.lower_gradient(sbo.lower.averaged(problem, c), h, (us, weights), theta, h)
            for c in (None, chunk)
        )
        terms = [sbo.lower.lower_gradient(problem, h, u, theta, h) for u in us]
        expected = sum(w[:, None] * term for w, term in zip(weights, terms, strict=True))
        norm = np.sum(weights, axis=0)[:, None]
        np.testing.assert_allclose(whole, expected / norm, atol=1e-12)
        np.testing.assert_allclose(chunked, whole, atol=1e-12)


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("problem", [sbo.Residual(jnp.tanh), sbo.lower.IncrementalEquilibrium()])
def test_a_step_of_weight_0_may_hold_no_number(x64, rng, problem, chunk):
    _, theta, _ = draw(rng)
    h, us = jnp.asarray(rng.normal(size=(B, D))), jnp.asarray(rng.normal(size=(T, B, D)))
    weights = jnp.ones((T, B)).at[rng.integers(T)].set(0)
    problem = sbo.lower.averaged(problem, chunk)

    def gradients(us):
        """In h, and of its square in theta."""

        def of_h(theta):
            return sbo.lower.lower_gradient(problem, h, (us, weights), theta, h)

        return of_h(theta), jax.grad(lambda theta: jnp.sum(of_h(theta) ** 2))(theta)

    nothing = jnp.where(weights[..., None] > 0, us, jnp.nan)
    chex.assert_trees_all_equal(gradients(nothing), gradients(us))


@dataclass(frozen=True)
class ScalarEnergy:
    def __call__(self, h, u, theta, h_prev):
        return jnp.sum(h * h)


@jax.custom_vjp
def once(x):
    return x


once.defvjp(lambda x: (x, None), lambda _, v: (jax.pure_callback(lambda v: v, v, v),))


@dataclass(frozen=True)
class OnceDifferentiable:
    def __call__(self, h, u, theta, h_prev):
        return jnp.sum(once(h) ** 2, axis=-1)


def test_an_energy_of_the_wrong_shape_is_refused():
    h = jnp.ones((B, D))
    with pytest.raises(ValueError, match=r"expected an energy of shape \(3,\).*got \(\)"):
        sbo.solve_implicit(ScalarEnergy(), SOLVER, h, h, None, num_steps=3)
    with pytest.raises(ValueError, match="expected an energy of shape"):
        sbo.unroll(ScalarEnergy(), SOLVER, h, h[None], None)


def test_an_energy_that_is_not_twice_differentiable_is_refused():
    h = jnp.ones((B, D))
    with pytest.raises(ValueError, match="twice differentiable"):
        sbo.solve_implicit(OnceDifferentiable(), SOLVER, h, h, None, num_steps=3)


@pytest.mark.parametrize("damping", [-0.1, float("nan")])
def test_a_negative_damping_is_refused(damping):
    h = jnp.ones((B, D))
    with pytest.raises(ValueError, match="expected a finite damping >= 0"):
        sbo.solve_implicit(
            sbo.Transition(), SOLVER, h, h, sbo.Scalar(jnp.ones(())), num_steps=3, damping=damping
        )


def test_a_state_that_is_not_stationary_is_refused_as_a_solution(x64, rng):
    u, theta, _ = draw(rng)
    problem = sbo.Residual(jax.nn.softplus)
    with pytest.raises(ValueError, match="expected a stationary h"):
        sbo.rollouts.attach_gradient(problem, jnp.ones((B, D)), u, theta, damping=0.5)
    h, _ = sbo.solve_implicit(
        problem, SOLVER, jnp.zeros((B, D)), u, theta, num_steps=3000, damping=0.5
    )
    attached, info = sbo.rollouts.attach_gradient(problem, h, u, theta, damping=0.5)
    np.testing.assert_array_equal(attached, h)
    assert np.all(info.converged)


def test_second_derivatives_are_those_of_differentiated_newton_steps(x64, rng):
    u, theta, weights = draw(rng)
    problem, direction = sbo.lower.damped(sbo.Residual(jax.nn.softplus), 0.5), draw(rng)[1]

    def loss(theta, implicit):
        options = {"num_steps": 2000, "linear_solver": EXACT["cg"]}
        start = jnp.zeros((B, D))
        h = sbo.solve_implicit(problem, SOLVER, start, u, theta, **options)[0]
        if not implicit:  # Newton's method from there doubles the digits of every derivative
            h = jax.lax.stop_gradient(h)
            for _ in range(3):
                gradient = sbo.lower.lower_gradient(problem, h, u, theta, h)
                single = jax.vmap(jax.hessian(problem), (0, 0, None, 0))
                h = h - jnp.linalg.solve(single(h, u, theta, h), gradient[..., None])[..., 0]
        return jnp.sum(weights * jnp.sin(h))

    def along(theta, implicit):
        gradient = jax.grad(loss)(theta, implicit)
        return sum(
            jnp.vdot(g, d)
            for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True)
        )

    ours, oracle = (jax.jit(jax.grad(along), static_argnums=1)(theta, i) for i in (True, False))
    chex.assert_trees_all_close(ours, oracle, rtol=1e-7, atol=1e-9)


@dataclass(frozen=True)
class Rotated:
    """A residual that is no gradient: that of an energy in h, its entries moved on by one."""

    def residual(self, h, u, theta, h_prev):
        return h - jnp.tanh(theta(jnp.roll(h, 1, axis=-1)) + u)


@pytest.mark.parametrize(
    ("problem", "solver"), [(sbo.Residual(jax.nn.softplus), "cg"), (Rotated(), "bicgstab")]
)
def test_second_derivatives_pass_where_the_first_are_0(x64, rng, problem, solver):
    """``||h*(u) - t||^2 / 2`` at ``t = h*(u)`` has the Hessian ``J^T J``."""
    u, theta, _ = draw(rng)
    theta, start = jax.tree.map(lambda x: 0.5 * x, theta), jnp.zeros((1, D))
    options = {"num_steps": 3000, "damping": 0.5, "linear_solver": EXACT[solver]}

    def solution(u):
        return sbo.solve_implicit(problem, SOLVER, start, u[None], theta, **options)[0][0]

    target = solution(u[0])
    hessian = jax.jit(jax.jacrev(jax.grad(lambda u: jnp.sum((solution(u) - target) ** 2) / 2)))(
        u[0]
    )
    jacobian = jax.jit(jax.jacrev(solution))(u[0])
    assert np.linalg.norm(jacobian) > 0.1
    np.testing.assert_allclose(hessian, jacobian.T @ jacobian, atol=1e-7)


@pytest.mark.parametrize("width", [2, 4])
def test_derivatives_of_a_solve_are_finite_in_single_precision(rng, width):
    """Where BiCGStab has arrived, its coefficients are ratios of numbers without meaning."""
    systems = rng.normal(size=(40, width, width)) / width**0.5 + 2 * np.eye(width)
    b = jnp.asarray(rng.normal(size=width), jnp.float32)

    def of(solve):
        def loss(b, matrix):
            return jnp.sum(jnp.sin(solve(matrix, b)))

        return jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(b, jnp.asarray(systems, jnp.float32))

    found = of(lambda matrix, b: BiCGStab(20)(lambda x: matrix @ x, b).x)
    np.testing.assert_allclose(found, of(jnp.linalg.solve), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("kind", ["energy", "residual"])
def test_numbers_that_a_problem_closes_over_get_their_gradient(x64, rng, kind):
    u, theta, weights = draw(rng)

    def loss(theta, closed_over):
        problem = sbo.Residual(jnp.tanh)
        options = {"num_steps": 500, "damping": 1.0, "linear_solver": EXACT["bicgstab"]}
        if closed_over:
            inner, bound = problem, theta
            problem = lambda h, u, theta, h_prev: inner(h, u, bound, h_prev)  # noqa: E731
        if kind == "residual":
            problem = ResidualOf(problem)
        h, _ = sbo.solve_implicit(
            problem, SOLVER, jnp.zeros((B, D)), u, None if closed_over else theta, **options
        )
        return jnp.sum(weights * h)

    inside, outside = (jax.jit(jax.grad(loss), static_argnums=1)(theta, c) for c in (True, False))
    chex.assert_trees_all_close(inside, outside, rtol=1e-10)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(inside)) > 1e-3


@dataclass(frozen=True)
class ResidualOf:
    energy: object

    def residual(self, h, u, theta, h_prev):
        return sbo.lower.lower_gradient(self.energy, h, u, theta, h_prev)


@dataclass(frozen=True)
class NearTokens:
    """A user's energy that reads whole numbers."""

    def __call__(self, h, tokens, theta, h_prev):
        return 0.5 * jnp.sum((h - jnp.tanh(theta(jax.nn.one_hot(tokens, D)))) ** 2, axis=-1)


def test_drives_of_whole_numbers_are_differentiated_around(rng):
    _, theta, weights = draw(rng)
    theta = jax.tree.map(jnp.float32, theta)
    tokens, h0 = jnp.asarray(rng.integers(D, size=B)), jnp.zeros((B, D))

    def found(theta):
        h, _ = sbo.solve_implicit(NearTokens(), SOLVER, h0, tokens, theta, num_steps=300)
        return jnp.sum(jnp.float32(weights) * h)

    def expected(theta):
        return jnp.sum(jnp.float32(weights) * jnp.tanh(theta(jax.nn.one_hot(tokens, D))))

    gradients = (jax.jit(jax.grad(loss))(theta) for loss in (found, expected))
    chex.assert_trees_all_close(*gradients, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="expected h0 of floating-point numbers, got int32"):
        sbo.solve_implicit(NearTokens(), SOLVER, jnp.int32(h0), tokens, theta, num_steps=1)


@pytest.mark.parametrize("solver", [CG(), BiCGStab()])
def test_a_singular_system_is_reported_and_its_solution_stays_finite(rng, solver):
    scales = jnp.asarray([1.0, 2.0, 3.0, 0.0, 0.0]) * rng.uniform(0.5, 2, 5)
    b = jnp.asarray(rng.normal(size=(20, 5)), jnp.float32)
    result = solver(lambda x: x @ jnp.diag(scales).astype(jnp.float32), b)
    norm = np.linalg.norm(b, axis=-1)
    assert np.all(np.isfinite(result.x))
    lost = np.linalg.norm(b[:, 3:], axis=-1)
    assert np.all(result.residual_norm >= 0.999 * lost)
    assert np.all(result.residual_norm <= 1.001 * norm)


@pytest.mark.parametrize("solver", [CG(), BiCGStab()])
@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e18, 1e30])
def test_cotangents_of_any_size_are_solved(rng, solver, scale):
    a = rng.normal(size=(5, 5))
    a = jnp.asarray(a @ a.T / 5 + np.eye(5), jnp.float32)
    b = rng.normal(size=(3, 5))
    result = solver(lambda x: x @ a, jnp.asarray(scale * b, jnp.float32))
    expected = np.linalg.solve(np.float64(a), b.T).T
    np.testing.assert_allclose(result.x / scale, expected, rtol=1e-3, atol=1e-4)
    assert np.all(result.residual_norm <= 1e-4 * scale * np.linalg.norm(b, axis=-1))


def test_a_cotangent_that_is_no_number_stays_one():
    for solver in (CG(), BiCGStab()):
        x = solver(lambda x: 2 * x, jnp.asarray([[1.0, jnp.nan], [1.0, 2.0]])).x
        np.testing.assert_array_equal(np.isnan(x).any(axis=-1), [True, False])


def test_a_weighted_average_is_one_for_weights_of_any_sum(x64, rng):
    u, theta, _ = draw(rng)
    us, weights = jnp.stack([u, -u, 2 * u]), jnp.tile(jnp.asarray([[0.1], [0.2], [0.05]]), (1, B))
    problem = sbo.Residual()
    ours = sbo.lower.averaged(problem)(u, (us, weights), theta, u)
    terms = [problem(u, step, theta, u) for step in us]
    np.testing.assert_allclose(ours, np.average(terms, axis=0, weights=[0.1, 0.2, 0.05]))


@pytest.mark.parametrize("damping", [0.0, 2.0, 10.0])
@pytest.mark.parametrize("kind", [sbo.SequenceEquilibrium, sbo.StepEquilibrium])
def test_the_bound_of_a_normalised_eta_counts_the_damping(rng, kind, damping):
    lower = replace(sbo.EQUILIBRIUM, problem=sbo.Residual(jax.nn.identity))
    rollout = kind(damping=damping, num_steps=300)
    rnn = sbo.SBORNN(2, 8, lower=lower, rollout=rollout, rngs=nnx.Rngs(int(rng.integers(2**31))))
    xs = jnp.asarray(rng.normal(size=(3, 7, 2)), jnp.float32)
    _, _, (info,) = nnx.jit(lambda rnn: rnn(xs, return_info=True))(rnn)
    assert np.max(info.grad_norm) < (1.0 if damping == 0 else 1e-3)


@pytest.mark.parametrize(
    "change",
    [{"num_steps": 0}, {"tolerance": -1.0}, {"damping": float("inf")}],
)
def test_bad_numbers_of_an_implicit_rollout_are_refused(change):
    with pytest.raises(ValueError, match="expected"):
        sbo.SequenceEquilibrium(**change)
