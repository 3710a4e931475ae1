"""Training that also learns hyper-parameters on the validation loss: `hypergradients` in a loop.

A batch is a pair of training and validation samples (`sources.paired`). Every upper-level step, or
window of them, is followed by one step of Adam on the hyper-parameters, along the gradient of the
validation loss. Those of the lower level, eta and mu, are entries of the model's parameters, one
for every layer and unit, which the training loss then leaves alone; magnitudes of augmentations and
weight decay live beside the optimiser's state, as logarithms.

The validation split then serves twice, for hypergradients and to choose the epoch, so that its
metric flatters; no step sees the test split.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array

from .._checks import check_counts
from .._types import ScalarArray
from .._varying import as_varying
from ..linear_solvers import LinearSolver
from ..lower.hyperparameters import Positive
from ..nn.cell import TrainedLowerHyper
from ..nn.lower_report import damped_cells
from ..tasks._types import Batch
from .augment import augmented
from .hypergradients import implicit, unrolled
from .method import GraphDef, Method, Params, Rest, TrainState, UpperInfo
from .objectives import Objective
from .step import check_equal_lengths, loss

LOWER = ("eta", "mu")
STARTS = {"weight_decay": 1e-4, "jitter": 0.05, "scale": 0.05, "shift": 0.5, "affine": 0.02}
"""Where magnitudes start: numbers of variance 1, factors, time steps, and parts of a length."""
NAMES = (*LOWER, *STARTS)

# Numbers by name: entries of the parameters by their path, magnitudes by what they scale.
Named: TypeAlias = Mapping[str, Array]
Hyper: TypeAlias = tuple[Named, Named]


class HyperState(NamedTuple):
    """The optimiser's state, and that of the hyper-parameters."""

    inner: optax.OptState
    log_magnitudes: Named
    hyper_state: optax.OptState
    num_steps: Array


def learning_hyperparameters(
    names: Sequence[str],
    optimizer: optax.GradientTransformation,
    hyper_optimizer: optax.GradientTransformation,
    *,
    window: int = 1,
    linear_solver: LinearSolver | None = None,
    seed: int = 0,
) -> Method:
    """Windows of steps of `optimizer`, each followed by one of `hyper_optimizer`; one device only.

    The measures are the values of all that is learned, by name, after the step; the loss is that
    before the last step of the window.

    Args:
      names: out of `NAMES`.
      optimizer: moves the parameters; differentiable where a gradient is 0 (Adam's `eps_root`).
      hyper_optimizer: moves the hyper-parameters.
      window: upper-level steps from one look at the validation loss to the next; a batch is cut
        into so many.
      linear_solver: for implicit hypergradients, after every step; None for those through the
        window.
      seed: draws the augmentations.

    Raises:
      ValueError: another name, a window below 1, or above 1 for implicit hypergradients; at the
        start of training, an eta or mu that the model does not learn.
    """
    if unknown := set(names) - set(NAMES):
        raise ValueError(f"expected names out of {', '.join(NAMES)}, got {', '.join(unknown)}")
    check_counts(window=window)
    if linear_solver is not None and window > 1:
        raise ValueError(f"expected window = 1 for implicit hypergradients, got {window}")
    learner = _Learner(tuple(names), optimizer, hyper_optimizer, window, linear_solver, seed)
    return Method(learner.init, learner.step)


@dataclass(frozen=True)
class _Learner:
    names: tuple[str, ...]
    optimizer: optax.GradientTransformation
    hyper_optimizer: optax.GradientTransformation
    window: int
    linear_solver: LinearSolver | None
    seed: int

    def init(self, params: Params) -> HyperState:
        log_magnitudes = {n: jnp.log(STARTS[n]) for n in self.names if n in STARTS}
        for name in self.names:
            if name in LOWER and not _learned(params, (name,)):
                raise ValueError(f"expected a model that learns {name}, got one where it is fixed")
        hyper_state = self.hyper_optimizer.init((_learned(params, self.names), log_magnitudes))
        inner = self.optimizer.init(params)
        return HyperState(inner, log_magnitudes, hyper_state, jnp.zeros((), jnp.int32))

    def step(
        self,
        objective: Objective,
        graphdef: GraphDef,
        state: TrainState,
        batch: Batch,
        *,
        axis_name: str | None = None,
    ) -> tuple[TrainState, UpperInfo]:
        if axis_name is not None:
            raise ValueError("expected one device for learned hyper-parameters; try --mesh data=1")
        check_equal_lengths(batch)
        state, batch = as_varying(state, batch)
        inner, log_magnitudes, hyper_state, num_steps = state.method_state
        hyper = _learned(state.params, self.names), log_magnitudes
        train, held_out = _split(batch)
        key = jax.random.fold_in(jax.random.key(self.seed), num_steps)
        windows = (
            jax.tree.map(partial(_cut, self.window), train),
            jax.random.split(key, self.window),
        )
        problem = _Problem(objective, self.optimizer, graphdef, held_out)
        start = _Upper(state.params, state.rest, inner, problem.no_loss(state, hyper, windows))
        last, gradient = problem.look(self.linear_solver, hyper, start, windows)
        updates, hyper_state = self.hyper_optimizer.update(gradient, hyper_state)
        lower, log_magnitudes = optax.apply_updates(hyper, updates)
        params = _with(last.params, lower)
        if "eta" in self.names:
            params = _within_bound(graphdef, params, last.rest)
        after = HyperState(last.inner, log_magnitudes, hyper_state, num_steps + 1)
        measures = _values(graphdef, params, last.rest, log_magnitudes, self.names)
        return TrainState(params, last.rest, after), UpperInfo(last.loss, measures)


def _learned(params: Params, names: Sequence[str]) -> dict[str, Array]:
    """The lower level's entries of the parameters with these names, by their path."""
    variables = jax.tree.leaves_with_path(params, is_leaf=lambda x: isinstance(x, nnx.Variable))
    keys = [jax.tree_util.DictKey(name) for name in names]
    return {
        jax.tree_util.keystr((*path, *within)): leaf
        for path, variable in variables
        if isinstance(variable, TrainedLowerHyper) and path[-1] in keys
        for within, leaf in jax.tree.leaves_with_path(variable)
    }


class _Upper(NamedTuple):
    """What one upper-level step hands to the next, its loss among it."""

    params: Params
    rest: Rest
    inner: optax.OptState
    loss: Array


# Samples of one upper-level step, and the key that augments them; or stacks of them, a window.
_Samples: TypeAlias = tuple[Batch, Array]


class _Problem(NamedTuple):
    """Both losses as functions of parameters and hyper-parameters."""

    objective: Objective
    optimizer: optax.GradientTransformation
    graphdef: GraphDef
    held_out: Batch

    def look(
        self, linear_solver: LinearSolver | None, hyper: Hyper, start: _Upper, windows: _Samples
    ) -> tuple[_Upper, Hyper]:
        """The state after the window, and the gradient of the validation loss."""
        if linear_solver is None:
            return unrolled(self.step, self.validation_loss, hyper, start, windows)[1:]
        first = jax.tree.map(lambda leaf: leaf[0], windows)

        def training_loss(params: Params, hyper: Hyper) -> ScalarArray:
            return self.training_loss(params, start.rest, hyper, first)[0]

        def validation_loss(params: Params, hyper: Hyper) -> ScalarArray:
            return self.validation_loss(start._replace(params=params), hyper)

        _, gradient = implicit(training_loss, validation_loss, hyper, start.params, linear_solver)
        return self.step(start, hyper, first), gradient

    def no_loss(self, state: TrainState, hyper: Hyper, windows: _Samples) -> ScalarArray:
        """0 of the type of the loss, before there is one."""
        first = jax.tree.map(lambda leaf: leaf[0], windows)
        value, _ = jax.eval_shape(self.training_loss, state.params, state.rest, hyper, first)
        return jnp.zeros((), value.dtype)

    def step(self, upper: _Upper, hyper: Hyper, samples: _Samples) -> _Upper:
        """One step of the optimiser; entries of `hyper` get no update, their gradient being 0."""
        value_and_grad = jax.value_and_grad(self.training_loss, has_aux=True)
        (value, rest), gradient = value_and_grad(upper.params, upper.rest, hyper, samples)
        updates, inner = self.optimizer.update(gradient, upper.inner, upper.params)
        return _Upper(optax.apply_updates(upper.params, updates), rest, inner, value)

    def training_loss(
        self, params: Params, rest: Rest, hyper: Hyper, samples: _Samples
    ) -> tuple[ScalarArray, Rest]:
        """Loss of augmented samples plus ``w/2 |theta|^2``; and the model's other state."""
        lower, log_magnitudes = hyper
        batch, key = samples
        batch = augmented(batch, jax.tree.map(jnp.exp, log_magnitudes), key)
        value, (rest, _) = loss(self.objective, self.graphdef, _with(params, lower), rest, batch)
        if "weight_decay" in log_magnitudes:
            weights = _with(params, jax.tree.map(jnp.zeros_like, lower))
            squares = optax.tree.norm(weights, squared=True)
            value += 0.5 * jnp.exp(log_magnitudes["weight_decay"]) * squares
        return value, rest

    def validation_loss(self, upper: _Upper, hyper: Hyper) -> ScalarArray:
        """Loss of the samples as they are, dropout off."""
        model = nnx.merge(self.graphdef, _with(upper.params, hyper[0]), upper.rest, copy=True)
        model.eval()
        losses = self.objective.loss(model(self.held_out.inputs), self.held_out.targets)
        return jnp.mean(self.held_out.weights * losses)


def _split(batch: Batch) -> tuple[Batch, Batch]:
    halves = zip(batch.inputs, batch.targets, strict=True)
    train, held_out = (Batch(inputs, targets, batch.weights) for inputs, targets in halves)
    return train, held_out


def _cut(count: int, leaf: Array) -> Array:
    return leaf.reshape(count, len(leaf) // count, *leaf.shape[1:])


def _with(params: Params, entries: Named) -> Params:
    """The parameters with these entries, by their path, in the place of their own."""
    return jax.tree.map_with_path(
        lambda path, leaf: entries.get(jax.tree_util.keystr(path), leaf), params
    )


def _within_bound(graphdef: GraphDef, params: Params, rest: Rest) -> Params:
    """The parameters with ``eta <= 1/L`` in every cell that learns log eta and knows L.

    A step or two ahead a larger eta may still look better, and soon after the rollout diverges.
    """
    model = nnx.merge(graphdef, params, rest, copy=True)
    for cell, damping in damped_cells(model):
        with contextlib.suppress(ValueError):  # an energy whose bound is not known
            smoothness = cell.smoothness(damping)
            if cell.resolve_eta is Positive.resolve:
                cell.eta[...] = jnp.minimum(cell.eta[...], -jnp.log(smoothness))
    return nnx.state(model, nnx.Param)


def _values(
    graphdef: GraphDef, params: Params, rest: Rest, log_magnitudes: Named, names: Sequence[str]
) -> OrderedDict[str, Array]:
    """What is learned, by name; eta and mu as means over units and layers."""
    model = nnx.merge(graphdef, params, rest, copy=True)
    lower = [cell.hyperparameters(damping) for cell, damping in damped_cells(model)]

    def value(name: str) -> Array:
        if name not in LOWER:
            return jnp.exp(log_magnitudes[name])
        return jnp.mean(jnp.stack([jnp.mean(pair[LOWER.index(name)]) for pair in lower]))

    return OrderedDict((name, value(name)) for name in names)
