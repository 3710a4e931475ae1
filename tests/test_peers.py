"""Every peer against its paper's equations in NumPy, its count of parameters, and `nnx.RNN`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import sbo_jax as sbo
from sbo_jax import peers
from sbo_jax.runs.config import TrainConfig, check
from sbo_jax.runs.config.registry import PEERS
from sbo_jax.runs.folder.run_folder import RunFolder
from sbo_jax.runs.preparation import prepare
from sbo_jax.runs.run import train

B, IN, D = 3, 2, 5


def s(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def skew(m, beta, gamma):
    return (1 - beta) * (m + m.T) + beta * (m - m.T) - gamma * np.eye(len(m))


def fast_rnn(p, x, h):
    c = np.tanh(x @ p.kernel + h @ p.recurrent + p.bias)
    return (s(p.alpha) * c + s(p.beta) * h,)


def fast_grnn(p, x, h):
    kernel, recurrent = (
        np.linalg.multi_dot([np.eye(len(f[0])), *f]) for f in (p.kernel, p.recurrent)
    )
    u = x @ kernel + h @ recurrent
    z = s(u + p.gate_bias)
    return ((s(p.zeta) * (1 - z) + s(p.nu)) * np.tanh(u + p.bias) + z * h,)


def antisymmetric(p, x, h):
    a = p.recurrent - p.recurrent.T - 0.2 * np.eye(D)
    return (h + 0.5 * np.tanh(h @ a + x @ p.kernel + p.bias),)


def gated_antisymmetric(p, x, h):
    a = p.recurrent - p.recurrent.T - 0.2 * np.eye(D)
    gate = s(h @ a + x @ p.gate_kernel + p.gate_bias)
    return (h + 0.5 * gate * np.tanh(h @ a + x @ p.kernel + p.bias),)


def incremental(p, x, h):
    g = 0 * h
    for i in range(3):
        g = g + p.eta[i] * (relu((g + h) @ p.recurrent + x @ p.kernel + p.bias) - 0.7 * (g + h))
    return (g,)


def independent(p, x, h):
    limit = 2 ** (1 / 4)
    return (relu(x @ p.kernel + np.minimum(np.maximum(p.recurrent, -limit), limit) * h + p.bias),)


def lipschitz(p, x, h):
    a, w = (skew(m, 0.6, 0.1) for m in (p.linear, p.recurrent))
    return (h + 0.4 * (h @ a) + 0.4 * np.tanh(h @ w + x @ p.kernel + p.bias),)


def momentum(p, x, h, v):
    v = 0.3 * v + 0.8 * (x @ p.kernel)
    return np.tanh(h @ p.recurrent + v + p.bias), v


def momentum_lstm(p, x, h, c, v):
    v = 0.3 * v + 0.8 * (x @ p.kernel)
    i, f, g, o = np.split(h @ p.recurrent + v + p.bias, 4, axis=-1)
    c = s(f) * c + s(i) * np.tanh(g)
    return s(o) * np.tanh(c), c, v


def cornn(p, x, y, z):
    pull = np.tanh(y @ p.recurrent + z @ p.velocity + x @ p.kernel + p.bias)
    z = z + 0.2 * (pull - 0.5 * y - 1.5 * z)
    return y + 0.2 * z, z


def unicornn(p, x, y, z):
    dt = 0.3 * s(p.pace)
    z = z - dt * (np.tanh(p.recurrent * y + x @ p.kernel + p.bias) + 2.0 * y)
    return y + dt * z, z


def lem(p, x, y, z):
    v1, v2, vz, vy = np.split(x @ p.kernel + p.bias, 4, axis=-1)
    w1, w2, wz = np.split(y @ p.recurrent, 3, axis=-1)
    d1, d2 = 0.6 * s(w1 + v1), 0.6 * s(w2 + v2)
    z = (1 - d1) * z + d1 * np.tanh(wz + vz)
    return (1 - d2) * y + d2 * np.tanh(z @ p.recurrent_y + vy), z


def gru(p, x, h):
    xr, xz, xn = np.split(x @ p.kernel + p.bias, 3, axis=-1)
    hr, hz, hn = np.split(h @ p.recurrent + p.recurrent_bias, 3, axis=-1)
    r, z = s(xr + hr), s(xz + hz)
    return ((1 - z) * np.tanh(xn + r * hn) + z * h,)


SQUARE = IN * D + D * D + D
CELLS = {
    "fast rnn": (peers.FastRNNCell, {}, fast_rnn, SQUARE + 2),
    "fast grnn": (peers.FastGRNNCell, {}, fast_grnn, SQUARE + D + 2),
    "fast grnn, low rank": (
        peers.FastGRNNCell,
        {"kernel_rank": 1, "recurrent_rank": 2},
        fast_grnn,
        1 * (IN + D) + 2 * (D + D) + 2 * D + 2,
    ),
    "antisymmetric": (
        peers.AntisymmetricCell,
        {"epsilon": 0.5, "gamma": 0.2},
        antisymmetric,
        SQUARE,
    ),
    "gated antisymmetric": (
        peers.GatedAntisymmetricCell,
        {"epsilon": 0.5, "gamma": 0.2},
        gated_antisymmetric,
        SQUARE + IN * D + D,
    ),
    "irnn": (
        peers.IncrementalCell,
        {"inner_steps": 3, "alpha": 0.7, "eta": 0.3},
        incremental,
        SQUARE + 3,
    ),
    "indrnn": (peers.IndependentCell, {"length": 4}, independent, IN * D + 2 * D),
    "lipschitz": (
        peers.LipschitzCell,
        {"epsilon": 0.4, "beta": 0.6, "gamma": 0.1, "std": 2.0},
        lipschitz,
        SQUARE + D * D,
    ),
    "momentum": (peers.MomentumCell, {"mu": 0.3, "step": 0.8}, momentum, SQUARE),
    "momentum lstm": (
        peers.MomentumLSTMCell,
        {"mu": 0.3, "step": 0.8},
        momentum_lstm,
        4 * SQUARE,
    ),
    "cornn": (
        peers.CoupledOscillatoryCell,
        {"dt": 0.2, "gamma": 0.5, "epsilon": 1.5},
        cornn,
        SQUARE + D * D,
    ),
    "unicornn": (
        peers.UndampedOscillatoryCell,
        {"dt": 0.3, "alpha": 2.0},
        unicornn,
        IN * D + 3 * D,
    ),
    "lem": (peers.LEMCell, {"dt": 0.6}, lem, 4 * SQUARE),
    "gru": (peers.TorchGRUCell, {}, gru, 3 * (SQUARE + D)),
}


class Params:
    """The parameters of a cell by name, as float64 arrays, or lists of them."""

    def __init__(self, cell):
        for name, value in vars(cell).items():
            if isinstance(value, nnx.Param):
                setattr(self, name, np.float64(value[...]))
            elif isinstance(value, nnx.List):
                setattr(self, name, [np.float64(factor[...]) for factor in value])


def build(name, rng):
    """A cell whose parameters are all random: zeros and identities would hide mistakes."""
    kind, options, _, _ = CELLS[name]
    cell = kind(IN, D, **options, rngs=nnx.Rngs(0))
    state = nnx.state(cell, nnx.Param)
    moved = jax.tree.map(lambda x: x + jnp.asarray(rng.normal(size=x.shape), x.dtype), state)
    nnx.update(cell, moved)
    return cell


def as_tuple(carry):
    return carry if isinstance(carry, tuple) else (carry,)


@pytest.mark.parametrize("name", CELLS)
def test_a_step_is_what_the_paper_states(rng, name):
    cell, step = build(name, rng), CELLS[name][2]
    x = rng.normal(size=(B, IN))
    carry = [rng.normal(size=state.shape) for state in as_tuple(cell.initialize_carry((B, IN)))]
    expected = step(Params(cell), x, *carry)
    arrays = tuple(jnp.asarray(state, jnp.float32) for state in carry)
    found, output = cell(arrays[0] if len(arrays) == 1 else arrays, jnp.asarray(x, jnp.float32))
    assert len(as_tuple(found)) == len(expected)
    for state, oracle in zip(as_tuple(found), expected, strict=True):
        np.testing.assert_allclose(state, oracle, rtol=2e-4, atol=2e-5)
    np.testing.assert_array_equal(output, as_tuple(found)[0])


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_has_as_many_parameters_as_its_formula_says(name):
    kind, options, _, count = CELLS[name]
    cell = kind(IN, D, **options, rngs=nnx.Rngs(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(cell, nnx.Param))) == count


@pytest.mark.parametrize("name", CELLS)
def test_a_classifier_takes_it_and_learns_in_every_parameter(rng, name):
    kind, options, _, _ = CELLS[name]
    cell = kind(IN, D, **options, rngs=nnx.Rngs(int(rng.integers(2**31))))
    model = sbo.SequenceClassifier(nnx.RNN(cell, rngs=False), D, 4, rngs=nnx.Rngs(1))
    xs = jnp.asarray(rng.normal(size=(20, 6, IN)), jnp.float32)
    gradient = nnx.jit(nnx.grad(lambda model, xs: jnp.sum(jnp.sin(model(xs)))))(model, xs)
    assert model(xs).shape == (20, 4)
    for leaf in jax.tree.leaves(gradient):
        assert np.all(np.isfinite(leaf))
        assert np.any(leaf != 0)


@pytest.mark.parametrize("name", CELLS)
def test_parameters_have_types_that_training_keeps(name):
    """Those of Python numbers, which are weak, an update would change: the step compiled twice."""
    kind, options, _, _ = CELLS[name]
    params = nnx.state(kind(IN, D, **options, rngs=nnx.Rngs(0)), nnx.Param)
    assert not any(leaf.aval.weak_type for leaf in jax.tree.leaves(params))


def test_carries_can_be_drawn(rng):
    cell = peers.LEMCell(IN, D, rngs=nnx.Rngs(0))
    y, z = cell.initialize_carry((B, IN), nnx.Rngs(0), nnx.initializers.normal())
    assert y.shape == z.shape == (B, D)
    assert np.any(y != z)
    with pytest.raises(ValueError, match="rngs together with carry_init"):
        cell.initialize_carry((B, IN), None, nnx.initializers.normal())


@pytest.mark.parametrize("time", [12, 13])
def test_sharnn_reads_bricks_from_zero_and_then_what_they_say(rng, time):
    first, second = build("fast rnn", rng), peers.FastRNNCell(D, 4, rngs=nnx.Rngs(0))
    layer = peers.ShaRNN(first, second, brick=4)
    xs = jnp.asarray(rng.normal(size=(B, time, IN)), jnp.float32)
    padded = jnp.concatenate([jnp.zeros((B, -time % 4, IN)), xs], axis=1)
    said = []
    for start in range(0, padded.shape[1], 4):
        h = jnp.zeros((B, D))
        for t in range(4):
            h, _ = first(h, padded[:, start + t])
        said.append(h)
    state = jnp.zeros((B, 4))
    for j, brick in enumerate(said):
        state, _ = second(state, brick)
        np.testing.assert_allclose(layer(xs)[:, j], state, rtol=1e-4, atol=1e-5)
    assert layer(xs[:0]).shape == (0, len(said), 4)
    model = sbo.SequenceClassifier(layer, 4, 2, rngs=nnx.Rngs(0))
    assert model(xs).shape == (B, 2)
    with pytest.raises(ValueError, match="without seq_lengths"):
        model(xs, seq_lengths=jnp.ones(B, int))


def test_sharnn_takes_bricks_of_the_square_root_of_time(rng):
    layer = peers.ShaRNN(build("fast rnn", rng), peers.FastRNNCell(D, 4, rngs=nnx.Rngs(0)))
    assert layer(jnp.zeros((B, 25, IN))).shape == (B, 5, 4)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_weights_of_pytorch_compute_what_they_did(rng, kind):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, kind)(IN, D, batch_first=True)
    xs = np.float32(rng.normal(size=(B, 7, IN)))
    layer = nnx.RNN(peers.from_torch(theirs), rngs=nnx.Rngs(0))
    expected = theirs(torch.from_numpy(xs))[0].detach().numpy()
    np.testing.assert_allclose(layer(jnp.asarray(xs)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_layers": 2}, "num_layers = 2"),
        ({"bidirectional": True}, "bidirectional"),
        ({"bias": False}, "bias"),
        ({"nonlinearity": "relu"}, "nonlinearity = relu"),
    ],
)
def test_other_layers_of_pytorch_are_refused(options, words):
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match=words):
        peers.from_torch(torch.nn.RNN(IN, D, **options))


@pytest.mark.parametrize(
    "build_wrong",
    [
        lambda rngs: peers.FastRNNCell(0, D, rngs=rngs),
        lambda rngs: peers.FastGRNNCell(IN, D, kernel_rank=IN + 1, rngs=rngs),
        lambda rngs: peers.IncrementalCell(IN, D, inner_steps=0, rngs=rngs),
        lambda rngs: peers.IndependentCell(IN, D, length=0, rngs=rngs),
        lambda rngs: peers.IncrementalCell(IN, D, eta=0.0, rngs=rngs),
        lambda rngs: peers.AntisymmetricCell(IN, D, epsilon=-1.0, rngs=rngs),
        lambda rngs: peers.LipschitzCell(IN, D, beta=5.0, rngs=rngs),
        lambda rngs: peers.MomentumCell(IN, D, mu=1.0, rngs=rngs),
        lambda rngs: peers.MomentumLSTMCell(IN, D, step=0.0, rngs=rngs),
        lambda rngs: peers.CoupledOscillatoryCell(IN, D, dt=np.nan, rngs=rngs),
        lambda rngs: peers.UndampedOscillatoryCell(IN, D, alpha=-1.0, rngs=rngs),
        lambda rngs: peers.LEMCell(IN, D, dt=np.inf, rngs=rngs),
    ],
)
def test_arguments_that_make_no_sense_are_refused(build_wrong):
    with pytest.raises(ValueError, match="expected"):
        build_wrong(nnx.Rngs(0))


def normal(std):
    return lambda x: (abs(np.std(x) / std - 1) < 0.1, abs(np.mean(x)) < 0.1 * std)


def uniform(low, high):
    spread = high - low
    return lambda x: (
        low <= x.min() < low + 0.05 * spread,
        high - 0.05 * spread < x.max() <= high,
        abs(np.mean(x) - (low + high) / 2) < 0.1 * spread,
    )


def constant(value):
    return lambda x: (np.all(x == np.float32(value)),)


def orthogonal(x):
    return (np.allclose(x @ x.T, np.eye(len(x)), atol=1e-4),)


def bound(*widths):
    return uniform(-(sum(widths) ** -0.5), sum(widths) ** -0.5)


WIDE_IN, WIDE = 40, 300
STARTS = {
    "AntisymmetricCell": {
        "kernel": normal(WIDE_IN**-0.5),
        "recurrent": normal(WIDE**-0.5),
        "bias": constant(0),
    },
    "GatedAntisymmetricCell": {"gate_kernel": normal(WIDE_IN**-0.5), "gate_bias": constant(0)},
    "FastRNNCell": {
        "kernel": normal(0.1),
        "recurrent": normal(0.1),
        "bias": constant(1),
        "alpha": constant(-3),
        "beta": constant(3),
    },
    "FastGRNNCell": {
        "kernel": normal(0.1),
        "recurrent": normal(0.1),
        "gate_bias": constant(1),
        "bias": constant(1),
        "zeta": constant(1),
        "nu": constant(-4),
    },
    "TorchGRUCell": {
        name: bound(WIDE) for name in ("kernel", "recurrent", "bias", "recurrent_bias")
    },
    "IncrementalCell": {
        "kernel": normal(0.1),
        "recurrent": normal(0.1),
        "bias": constant(0),
        "eta": constant(0.01),
    },
    "IndependentCell": {
        "kernel": normal(WIDE_IN**-0.5),
        "recurrent": uniform(0, 2**0.01),
        "bias": constant(0),
    },
    "LEMCell": {name: bound(WIDE) for name in ("kernel", "recurrent", "recurrent_y", "bias")},
    "LipschitzCell": {
        "linear": normal(0.1 / WIDE),
        "recurrent": normal(0.1 / WIDE),
        "kernel": normal(WIDE_IN**-0.5),
        "bias": constant(0),
    },
    "MomentumCell": {
        "kernel": orthogonal,
        "recurrent": constant(np.eye(WIDE)),
        "bias": constant(0),
    },
    "MomentumLSTMCell": {
        "kernel": orthogonal,
        "recurrent": constant(np.tile(np.eye(WIDE), 4)),
        "bias": constant(np.repeat([0, 1, 0, 0], WIDE)),
    },
    "CoupledOscillatoryCell": {
        name: bound(WIDE_IN, 2 * WIDE) for name in ("kernel", "recurrent", "velocity", "bias")
    },
    "UndampedOscillatoryCell": {
        "kernel": bound(WIDE_IN),
        "bias": bound(WIDE_IN),
        "recurrent": uniform(0, 1),
        "pace": uniform(-0.1, 0.1),
    },
}


@pytest.mark.parametrize("name", STARTS)
def test_weights_are_drawn_as_the_papers_draw_them(rng, name):
    cell = getattr(peers, name)(WIDE_IN, WIDE, rngs=nnx.Rngs(int(rng.integers(2**31))))
    for field, checks in STARTS[name].items():
        variable = getattr(cell, field)
        (variable,) = [variable] if isinstance(variable, nnx.Variable) else variable
        assert all(checks(np.asarray(variable[...]))), field


def test_every_cell_has_its_start_checked():
    cells = {name for name in dir(peers) if name.endswith("Cell")}
    assert cells == set(STARTS)


@pytest.mark.slow
def test_indrnn_is_kept_within_its_limit_as_if_clipped_after_every_update(rng):
    cell = peers.IndependentCell(IN, D, length=2, rngs=nnx.Rngs(0))
    graphdef, state = nnx.split(cell)
    limit = cell.limit
    # On both sides of the limit and well away from it, where a way back would take long.
    goals = jnp.asarray(rng.choice([0.5, 2.0], D) + rng.uniform(0, 0.5, D), jnp.float32)

    def loss(u):
        moved = nnx.merge(graphdef, state, copy=True)
        moved.recurrent[...] = u
        return jnp.sum((moved(jnp.ones(D), jnp.zeros(IN))[0] - goals) ** 2)

    start = jnp.asarray(rng.uniform(0.2, 3.0, D), jnp.float32)  # some beyond the limit
    ours, projected = start, jnp.minimum(start, limit)
    for _ in range(200):
        ours = ours - 0.05 * jax.grad(loss)(ours)
        projected = jnp.minimum(projected - 0.05 * 2 * (projected - goals), limit)
    np.testing.assert_allclose(jnp.clip(ours, -limit, limit), projected, atol=1e-4)
    np.testing.assert_array_less(ours, jnp.maximum(start, limit + 0.05 * 2 * 2.5) + 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS)
def test_every_model_trains_and_is_loaded_by_name(tmp_path, name):
    sizes = {"task": "adding", "length": 9, "hidden": 4, "batch_size": 1600, "epochs": 1}
    prepared = prepare(TrainConfig.of(model=name, **sizes))
    with RunFolder(tmp_path / "run") as folder:
        summary = train(prepared, folder)
    assert summary["model"] == name
    assert np.isfinite(summary["test"])
    xs, targets = prepared.task.validation.fetch(np.arange(4))
    assert sbo.load(tmp_path / "run").predict(xs).shape == targets[:, 0].shape


@pytest.mark.parametrize(
    "option", [{"preset": "paper"}, {"layers": 2}, {"rollout": "parallel"}, {"dtype": "bfloat16"}]
)
def test_options_of_sbo_are_refused_with_another_model(option):
    flag = next(iter(option))
    with pytest.raises(ValueError, match=f"--{flag} has no effect with --model lem"):
        check(TrainConfig.of(model="lem", **option))


def test_a_head_of_sharnn_takes_streams_of_its_own(rng):
    first, second = build("fast rnn", rng), peers.FastRNNCell(D, 4, rngs=nnx.Rngs(0))
    head = sbo.SequenceClassifier(
        peers.ShaRNN(first, second, brick=4), 4, 3, input_dropout=0.5, rngs=nnx.Rngs(0)
    )
    xs = jnp.asarray(rng.normal(size=(B, 12, IN)), jnp.float32)
    drawn = [np.asarray(head(xs, rngs=nnx.Rngs(seed))) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()
