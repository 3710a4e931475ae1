"""Run with several virtual devices, in a process of its own: prints what test_mesh.py looks at."""

import json
import sys
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import sbo_jax as sbo
from sbo_jax import tasks
from sbo_jax.ahead import Machine, examine, programs
from sbo_jax.ahead.hlo import structure
from sbo_jax.devices import mesh as meshes
from sbo_jax.lower.step import init_carry
from sbo_jax.nn import RecallRNN
from sbo_jax.relaxations.block_coordinate import block_coordinate_descent
from sbo_jax.relaxations.lagrangian import augmented_lagrangian
from sbo_jax.relaxations.penalty import penalty_method
from sbo_jax.relaxations.states import descent, gauss_newton
from sbo_jax.rollouts.fused import unroll_fused
from sbo_jax.rollouts.implicit import attach_gradient
from sbo_jax.runs.config import TrainConfig
from sbo_jax.runs.preparation import prepare
from sbo_jax.stability import gradient_flow, jacobian_spectrum
from sbo_jax.stability.steps import recurrence
from sbo_jax.tasks._types import Batch
from sbo_jax.training.augment import with_augmented_samples
from sbo_jax.training.averaging import averaged
from sbo_jax.training.fit_many import fit_many
from sbo_jax.training.method import OF_STEP
from sbo_jax.training.objectives import ACCURACY, MSE, PERPLEXITY
from sbo_jax.training.relaxed import by_relaxation, network, relu_network
from sbo_jax.training.step import (
    OF_EVALUATION,
    bptt,
    eval_step,
    init_state,
    put_state,
    whole_state,
)

BATCH, T, IN, D = 8, 6, 3, 8
# Adam would forgive summed gradients, and turn the sign of one near zero into a whole step.
UPPER = bptt(optax.sgd(0.1))

LAYERS = {
    "stable": {},
    "low rank, nesterov": {
        "lower": replace(sbo.STABLE, solver=sbo.nesterov, operator=sbo.LowRank.init)
    },
    "diagonal, sgd, remat": {
        "lower": replace(sbo.PAPER, operator=sbo.Diagonal.init),
        "rollout": sbo.Unrolled(remat_chunk=2),
    },
    "sequence": {"lower": sbo.EQUILIBRIUM, "rollout": sbo.SequenceEquilibrium(damping=1.0)},
    "step": {"lower": sbo.EQUILIBRIUM, "rollout": sbo.StepEquilibrium(damping=1.0, num_steps=5)},
    "streamed": {"lower": sbo.EQUILIBRIUM, "rollout": sbo.Streamed(damping=1.0)},
    # smooth: a rounding that turns a ReLU off would move its weights by a hundredth
    "bfloat16": {
        "lower": replace(sbo.STABLE, problem=sbo.Residual(jnp.tanh), eta=sbo.Fixed(0.1)),
        "dtype": jnp.bfloat16,
    },
    "memories": {"layer": RecallRNN, "solver": sbo.heavy_ball(0.5, 0.8)},
}

# Read inside a user's `jax.shard_map`, which checks what varies from device to device.
VARYING = {
    "learned, remat": {
        "lower": replace(sbo.STABLE, eta=sbo.Learned(0.1), mu=sbo.Learned(0.5)),
        "rollout": sbo.Unrolled(remat_chunk=2, inner_steps=2),
    },
    "parallel": {
        "lower": replace(sbo.STABLE, operator=sbo.Diagonal.init),
        "rollout": sbo.Parallel(),
    },
    "memories by chunks": {"layer": RecallRNN, "num_layers": 2},
    **{name: LAYERS[name] for name in ("sequence", "step", "streamed")},
}
PATHS = [
    *("lower_step", "unroll", "cell", "nnx.RNN", "solve_implicit", "attach_gradient"),
    *("gradient_flow", "flow of a loss", "jacobian_spectrum"),
]
VANILLA = replace(
    sbo.PAPER,
    problem=sbo.Transition(jax.nn.relu),
    solver=sbo.sgd,
    eta=sbo.Fixed(1.0),
    operator=sbo.Dense.init,
)
PENALTY = penalty_method(optax.sgd(0.1), lambda step: 1.0, descent(optax.sgd(0.1), 2))
LAGRANGIAN = augmented_lagrangian(optax.sgd(0.1), 1.0, gauss_newton())
METHODS = {
    "bptt": UPPER,
    "averaged": averaged(UPPER, 0.9),
    "penalty": by_relaxation(network, PENALTY),
    "lagrangian": by_relaxation(network, LAGRANGIAN),
    "block coordinates": by_relaxation(relu_network, block_coordinate_descent(1.0)),
}


def model(seed, layer=sbo.SBORNN, **options):
    rngs = nnx.Rngs(seed)
    rnn = layer(IN, D, param_dtype=jnp.float64, rngs=rngs, **options)
    head = sbo.SequenceRegressor(rnn, D, 1, rngs=rngs)
    for name in ("kernel", "bias"):
        setattr(head, name, nnx.Param(jnp.asarray(getattr(head, name)[...], jnp.float64)))
    return head


def steps(network, devices, rng, count=3):
    """Parameters after `count` steps on random batches, and the text of the compiled step."""
    mesh = meshes.make_mesh(data=devices)
    graphdef, state = init_state(network, UPPER)
    step, compiled = meshes.compiled(mesh, OF_STEP, UPPER.step, MSE, graphdef), None
    state = put_state(mesh, state)
    for _ in range(count):
        xs, ys = rng.normal(size=(BATCH, T, IN)), rng.normal(size=(BATCH, 1))
        batch = meshes.put(mesh, meshes.PER_SAMPLE, Batch(xs, ys, np.ones(BATCH)))
        compiled = compiled or step.lower(state, batch).compile()
        state, _ = compiled(state, batch)
    return state, compiled.as_text()


class Unchanged(nnx.Module):
    """A layer whose states are its inputs."""

    def __call__(self, inputs, *, seq_lengths=None, **options):
        return inputs


def losses_of_one_sample(seed, name):
    """What each of four devices that read the same sample loses in the same step, weighed alone."""
    masked = {name: 0.5} if name in MASKED else {}
    method = UPPER if masked else with_augmented_samples(UPPER, ((name, 0.5),), seed)
    head = sbo.SequenceRegressor(Unchanged(), 64, 1, **masked, rngs=nnx.Rngs(seed))
    mesh, (graphdef, state) = meshes.make_mesh(data=4), init_state(head, method)
    step = meshes.compiled(mesh, OF_STEP, method.step, MSE, graphdef)
    state, xs, ys = put_state(mesh, state), np.ones((4, T, 64)), np.zeros((4, 1))
    batches = (meshes.put(mesh, meshes.PER_SAMPLE, Batch(xs, ys, only)) for only in np.eye(4))
    return [float(step(state, batch)[1].loss) for batch in batches]


def difference(a, b):
    """The largest of all leaves, in units of a leaf's largest number where that is above 1."""
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    pairs = [(np.asarray(x), np.asarray(y)) for x, y in leaves]
    return max(
        float(np.max(np.abs(x - y), initial=0) / np.max(np.abs(x), initial=1)) for x, y in pairs
    )


def meetings_in_loops(text):
    """What devices meet for in a loop, and in loops of how many passes."""
    return [meeting for meeting in structure(text).meetings if meeting.around]


def in_a_loop(step):
    """A step whose devices also meet in a loop over time."""

    def broken(objective, graphdef, state, batch, *, axis_name):
        state, info = step(objective, graphdef, state, batch, axis_name=axis_name)

        def body(x, _):
            return jax.lax.pmean(jnp.tanh(x), axis_name), None

        last, _ = jax.lax.scan(body, info.loss * jnp.mean(batch.inputs), length=T)
        return state, info._replace(loss=last)

    return broken


def twice(step):
    """A step whose devices meet for its result as well."""

    def broken(objective, graphdef, state, batch, *, axis_name):
        state, info = step(objective, graphdef, state, batch, axis_name=axis_name)
        return state, jax.lax.pmean(info, axis_name)

    return broken


def alone(step):
    """A step whose devices never meet, and so train each a model of its own."""
    return lambda *arguments, axis_name: step(*arguments)


def everywhere(step):
    """A step that leaves the gradient to every device, sample by sample."""

    def broken(objective, graphdef, state, batch, *, axis_name):
        batch = jax.lax.all_gather(batch, axis_name, tiled=True)
        return step(objective, graphdef, state, batch)

    return broken


MASKED = ("input_dropout", "variational_dropout")
AUGMENTED = ("jitter", "scale")
BROKEN = {
    "in a loop": (in_a_loop, f"outside of loops over time, got .* in a loop of {T} passes"),
    "twice": (twice, "expected one all-reduce outside of loops, got all-reduce of .*, all-reduce"),
    "alone": (alone, "expected one all-reduce outside of loops, got none"),
    "everywhere": (everywhere, "expected one all-reduce outside of loops, got all-gather"),
}


def faults(devices, breaking=lambda step: step, memory=2**30):
    """What is found wrong with a small run's training step that is broken in this way."""
    config = TrainConfig.of(task="adding", length=T, hidden=D, batch_size=BATCH, operator="dense")
    config = config.changed(mesh=f"data={len(devices)}")
    run = prepare(config, devices=devices)
    run = run._replace(method=run.method._replace(step=breaking(run.method.step)))
    return list(examine(next(programs(run)), Machine("here", devices, memory)).faults)


def main(seed):
    found = {}
    for name, options in LAYERS.items():
        one, _ = steps(model(seed, **options), 1, np.random.default_rng(seed))
        four, text = steps(model(seed, **options), 4, np.random.default_rng(seed))
        found[name] = {
            "difference": difference(one.params, four.params),
            "meetings": [meeting.kind for meeting in structure(text).meetings],
            "loops": len(structure(text).loops),
            "inside": meetings_in_loops(text),
        }
    plain = jax.jit(plain_step(model(seed))).lower(*plain_arguments(model(seed))).compile()
    found["left to the compiler"] = {"inside": meetings_in_loops(plain.as_text())}
    dropping = {"num_layers": 2, "dropout": 0.5}
    state, _ = steps(model(seed, **dropping), 4, np.random.default_rng(seed))
    again, _ = steps(model(seed, **dropping), 4, np.random.default_rng(seed))
    found["dropout"] = {"difference": difference(state.params, again.params)}
    found["drawn"] = {name: losses_of_one_sample(seed, name) for name in MASKED + AUGMENTED}
    (one, _), (four, meetings) = (language_model_steps(seed, devices) for devices in (1, 4))
    found["language model"] = {"difference": difference(one, four), "meetings": meetings}
    one, four = (unequal_steps(seed, devices) for devices in (1, 4))
    found["unequal"] = {"difference": difference(one, four)}
    found["varying"] = {name: varying(seed, **options) for name, options in VARYING.items()}
    found["paths"], found["refused"] = paths(seed), refused(seed)
    found["methods"] = {name: checked_step(method, seed) for name, method in METHODS.items()}
    found["heads"] = {"difference": difference(*by_heads(seed))}
    found["faults"] = {
        "none": faults(jax.devices()[:4]),
        "memory": faults(jax.devices()[:4], memory=10_000),
        **{name: faults(jax.devices()[:4], breaking) for name, (breaking, _) in BROKEN.items()},
    }
    found["sweep"] = {"difference": sweep_difference(seed)}
    print(json.dumps(found))


def spread(fn, num_split, num_shared, out_specs):
    """`fn` on two devices, its first arguments split over them, with JAX's checks on."""
    specs = (PartitionSpec("d"),) * num_split + (PartitionSpec(),) * num_shared
    mesh = Mesh(np.array(jax.devices()[:2]), ("d",))
    return jax.jit(jax.shard_map(fn, mesh=mesh, in_specs=specs, out_specs=out_specs))


def varying(seed, layer=sbo.SBORNN, **options):
    """A masked layer inside shard_map and outside it: outputs, gradients, collectives in loops."""
    rnn = layer(IN, D, param_dtype=jnp.float64, rngs=nnx.Rngs(seed), **options)
    graphdef, params, rest = nnx.split(rnn, nnx.Param, ...)
    rng = np.random.default_rng(seed)
    xs, mask = rng.normal(size=(BATCH, T, IN)), rng.random((BATCH, T)) < 0.7

    def loss(params, xs, mask, mean=lambda x: x):
        hs = nnx.merge(graphdef, params, rest)(xs, mask=mask)
        return mean(jnp.mean(hs**2)), hs

    def within(xs, mask, params):
        mean = partial(jax.lax.pmean, axis_name="d")
        return jax.value_and_grad(partial(loss, mean=mean), has_aux=True)(params, xs, mask)

    result = (PartitionSpec(), PartitionSpec("d")), PartitionSpec()
    compiled = spread(within, 2, 1, result).lower(xs, mask, params).compile()
    expected = jax.jit(jax.value_and_grad(loss, has_aux=True))(params, xs, mask)
    return {
        "difference": difference(expected, compiled(xs, mask, params)),
        "inside": meetings_in_loops(compiled.as_text()),
    }


def by_heads(seed):
    """The gradient of memories on one device, and shared out by samples and heads."""
    layer = RecallRNN(IN, D, num_heads=2, param_dtype=jnp.float64, rngs=nnx.Rngs(seed))
    xs = np.random.default_rng(seed).normal(size=(BATCH, T, IN))
    graphdef, state = nnx.split(layer)
    mesh = Mesh(np.array(jax.devices()[:4]).reshape(2, 2), ("samples", "heads"))

    def place(path, leaf):
        columns = PartitionSpec(None, "heads")
        specs = dict.fromkeys(("kernel", "window", "weight_kernel"), columns)
        specs["out_kernel"] = PartitionSpec("heads")
        spec = specs.get(path[-2].key, PartitionSpec())
        return jax.device_put(leaf, NamedSharding(mesh, spec))

    shared = jax.tree_util.tree_map_with_path(place, state)
    split = jax.device_put(xs, NamedSharding(mesh, PartitionSpec("samples")))
    gradient = jax.jit(jax.grad(lambda state, xs: jnp.sum(nnx.merge(graphdef, state)(xs) ** 2)))
    return gradient(state, xs), gradient(shared, split)


def checked_step(method, seed):
    """Two upper-level steps inside a user's shard_map, which checks, and outside it."""
    graphdef, state = init_state(model(seed, lower=VANILLA), method)
    rng = np.random.default_rng(seed)
    batch = Batch(rng.normal(size=(BATCH, T, IN)), rng.normal(size=(BATCH, 1)), np.ones(BATCH))

    def two_steps(batch, state, axis_name=None):
        step = partial(method.step, MSE, graphdef, axis_name=axis_name)
        state, info = step(step(state, batch)[0], batch)
        return state.params, method.kept(state).params, info

    within = spread(partial(two_steps, axis_name="d"), 1, 1, PartitionSpec())
    return difference(jax.jit(two_steps)(batch, state), within(batch, state))


def paths(seed):
    """Functions that start from zeros, the same on all devices, inside shard_map and outside it."""
    rng, energy, solver = np.random.default_rng(seed), sbo.Residual(jnp.tanh), sbo.sgd(0.1)
    us = rng.normal(size=(BATCH, T, D))
    theta = jax.tree.map(jnp.float64, sbo.Dense.init(jax.random.key(seed), D))
    cell = sbo.SBOCell(D, D, param_dtype=jnp.float64, rngs=nnx.Rngs(seed))

    def zeros(us):
        return jnp.zeros((len(us), D))

    def unrolled(us, theta):
        hs = sbo.unroll(energy, solver, zeros(us), jnp.moveaxis(us, 1, 0), theta)[1]
        return jnp.moveaxis(hs, 1, 0)

    def flow(us, theta):
        def step(h, u):
            return (sbo.unroll(energy, solver, h, u[None], theta)[0].h,) * 2

        time_major = jnp.moveaxis(us, 1, 0)
        norms = gradient_flow(step, zeros(us), time_major, jnp.sum, batch_axes=1)
        return jnp.moveaxis(norms, 1, 0)

    def flow_of_loss(us, theta):
        """Of a sequence that all samples share; they differ in their loss alone."""

        def loss(h):
            return jnp.sum(h * us[:, 0])

        start, shared = zeros(us), jnp.ones((T, 1, D))

        def step(h, u):
            return (jnp.tanh(h + u),) * 2

        norms = gradient_flow(step, start, shared, loss, batch_axes=1)
        return jnp.moveaxis(norms, 1, 0)

    def spectrum(us, theta):
        def one(us):
            carry = init_carry(solver, jnp.zeros(D))
            step = recurrence(energy, solver, theta)
            return jacobian_spectrum(step, carry, us, 2, key=jax.random.key(0), num_iterations=1)

        return jax.vmap(one)(us)

    def layer_of_cells(us, theta):
        start = jax.tree.map(lambda leaf: leaf + 0 * us[:, 0], cell.initialize_carry((len(us), D)))
        return nnx.merge(*nnx.split(nnx.RNN(cell)), copy=True)(us, initial_carry=start)

    functions = {
        "lower_step": lambda us, theta: (
            sbo.lower_step(energy, solver, init_carry(solver, zeros(us)), us[:, 0], theta).h
        ),
        "unroll": unrolled,
        "cell": lambda us, theta: cell(cell.initialize_carry((len(us), D)), us[:, 0])[1],
        "solve_implicit": lambda us, theta: sbo.solve_implicit(
            energy, solver, zeros(us), us[:, 0], theta, num_steps=3, damping=1.0
        )[0],
        "attach_gradient": lambda us, theta: jax.grad(
            lambda u: jnp.sum(attach_gradient(energy, zeros(u), u, theta, damping=1.0)[0])
        )(us[:, 0]),
        "gradient_flow": flow,
        "flow of a loss": flow_of_loss,
        "jacobian_spectrum": spectrum,
        "nnx.RNN": layer_of_cells,
    }
    return {
        name: difference(jax.jit(fn)(us, theta), spread(fn, 1, 1, PartitionSpec("d"))(us, theta))
        for name, fn in functions.items()
    }


def refused(seed):
    """What is said of what cannot be right in a shard_map that checks."""
    us = np.random.default_rng(seed).normal(size=(BATCH, D))

    def solve(us):
        def energy(h, u, theta, h_prev):
            return jnp.sum((h - us) ** 2, axis=-1)

        h0 = jnp.zeros((len(us), D))
        return sbo.unroll(energy, sbo.sgd(0.1), h0, jnp.zeros((T, *h0.shape)), None)[1][-1]

    def kernel(us):
        theta, h0 = sbo.Dense.init(jax.random.key(seed), 2 * D), jnp.zeros((len(us), 2 * D))
        us = jnp.concatenate([us, us], axis=-1)
        return unroll_fused(sbo.Residual(), sbo.sgd(0.1), h0, us[None], theta)[1][-1]

    said = {}
    for name, fn in {"closure": solve, "kernel": kernel}.items():
        try:
            spread(fn, 1, 0, PartitionSpec("d"))(us)
        except ValueError as error:
            said[name] = str(error)
    return said


def unequal_steps(seed, devices):
    """Parameters and totals of tagging sequences of unequal lengths, some steps without a tag."""
    rng, mesh = np.random.default_rng(seed), meshes.make_mesh(data=devices)
    rnn = sbo.SBORNN(IN, D, param_dtype=jnp.float64, rngs=nnx.Rngs(seed))
    graphdef, state = init_state(sbo.nn.SequenceTagger(rnn, D, 4, rngs=nnx.Rngs(seed)), UPPER)
    step, evaluate = (
        meshes.compiled(mesh, places, of, ACCURACY, graphdef)
        for places, of in ((OF_STEP, UPPER.step), (OF_EVALUATION, eval_step))
    )
    state = put_state(mesh, state)
    for num_steps in (T, 2 * T):
        lengths = rng.integers(1, num_steps + 1, BATCH).astype(np.int32)
        weights = (np.arange(num_steps) < lengths[:, None]) & (rng.random((BATCH, num_steps)) < 0.7)
        inputs, tags = rng.normal(size=(BATCH, num_steps, IN)), rng.integers(0, 4, weights.shape)
        batch = Batch(inputs, tags, weights.astype(np.float32), lengths)
        batch = meshes.put(mesh, meshes.PER_SAMPLE, batch)
        state, info = step(state, batch)
    return state.params, info.loss, evaluate(state, batch)[0]


def language_model_steps(seed, devices, count=3):
    """What comes of a few windows and an evaluation after them, and how devices meet in both."""
    rngs, mesh = nnx.Rngs(seed), meshes.make_mesh(data=devices)
    network = sbo.SequenceLanguageModel(sbo.SBORNN(D, D, rngs=rngs), D, 5, rngs=rngs)
    graphdef, state = init_state(network, UPPER, BATCH)
    step = meshes.compiled(mesh, OF_STEP, UPPER.step, PERPLEXITY, graphdef)
    evaluate = meshes.compiled(mesh, OF_EVALUATION, eval_step, PERPLEXITY, graphdef)
    tokens = np.random.default_rng(seed).integers(0, 5, (BATCH, 1 + count * T))
    state = put_state(mesh, state)
    for window in range(count):
        here = slice(window * T, (window + 1) * T)
        batch = Batch(tokens[:, :-1][:, here], tokens[:, 1:][:, here], np.ones((BATCH, T)))
        batch = meshes.put(mesh, meshes.PER_SAMPLE, batch)
        state, _ = step(state, batch)
    totals, carry = evaluate(state, batch)
    texts = [of.lower(state, batch).compile().as_text() for of in (step, evaluate)]
    after = whole_state(mesh, state), totals.loss / totals.num_samples, carry
    return after, [[meeting.kind for meeting in structure(text).meetings] for text in texts]


def sweep_difference(seed):
    """Of four models on 4 x 2 devices, and on one."""
    task = tasks.load("adding", length=T, seed=0)
    curves = []
    for mesh in (meshes.make_mesh(sweep=1, data=1), meshes.make_mesh(sweep=4, data=2)):
        networks = [sbo.SequenceRegressor(rnn, D, 1, rngs=nnx.Rngs(0)) for rnn in layers(seed)]
        options = {"epochs": 1, "batch_size": 640, "mesh": mesh}
        (epoch,) = fit_many(networks, task, MSE, UPPER, **options)
        curves.append(np.concatenate([epoch.train_loss, epoch.validation_loss]))
    return float(np.max(np.abs(curves[0] - curves[1])))


def layers(seed):
    return [sbo.SBORNN(2, D, rngs=nnx.Rngs(seed + number)) for number in range(4)]


def plain_step(network):
    """A step without shard_map, its batch spread over the mesh: what not to do."""
    graphdef, _ = init_state(network, UPPER)
    return partial(UPPER.step, MSE, graphdef)


def plain_arguments(network):
    mesh = meshes.make_mesh(data=4)
    _, state = init_state(network, UPPER)
    batch = Batch(np.ones((BATCH, T, IN)), np.ones((BATCH, 1)), np.ones(BATCH))
    return (
        meshes.put(mesh, meshes.REPLICATED, state),
        meshes.put(mesh, meshes.PER_SAMPLE, batch),
    )


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main(int(sys.argv[1]))
