"""Training that also learns hyper-parameters, on the validation loss: `hypergradients` in a loop.

A batch is a pair of training and validation samples (`tasks.paired`). Every upper-level step, or
window of them, is followed by one step of Adam on the hyper-parameters, along the gradient of the
validation loss. Those of the lower level, eta and mu, are entries of the model's parameters, of
every layer and unit their own, that the training loss then leaves alone; magnitudes of
augmentations and weight decay live beside the optimiser's state, as logarithms.

The validation split then serves twice, for hypergradients and to choose the epoch, so that its
metric flatters; no step sees the test split.
"""

import contextlib
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from .._types import ScalarArray
from ..lower.hyperparameters import Positive
from ..nn.cell import SBOCell
from ..tasks._types import Batch
from .augment import AUGMENTATIONS
from .hypergradients import LinearSolve, implicit, unrolled
from .objectives import Objective
from .step import GraphDef, Params, TrainState, loss

LOWER = ("eta", "mu")
STARTS = {"weight_decay": 1e-4, "jitter": 0.05, "scale": 0.05, "shift": 0.5, "affine": 0.02}
"""Where magnitudes start: of numbers with variance 1, of factors, in time steps, of lengths."""
NAMES = (*LOWER, *STARTS)


class LearnedState(NamedTuple):
    """The optimiser's state, and that of the hyper-parameters."""

    inner: optax.OptState
    log_magnitudes: Mapping[str, jax.Array]
    hyper_state: optax.OptState
    num_steps: jax.Array


class Learning(NamedTuple):
    """How hyper-parameters are learned; stands where `fit` takes an optimiser.

    Attributes:
      names: of `NAMES`.
      optimizer: of the parameters; differentiable also where a gradient is 0 (Adam's `eps_root`).
      hyper_optimizer: of the hyper-parameters.
      window: upper-level steps from one look at the validation loss to the next; a batch is cut
        into so many.
      solve: for implicit hypergradients; None for those through the window.
      seed: of the augmentations.
    """

    names: Sequence[str]
    optimizer: optax.GradientTransformation
    hyper_optimizer: optax.GradientTransformation
    window: int = 1
    solve: LinearSolve | None = None
    seed: int = 0

    def init(self, params: Params) -> LearnedState:
        log_magnitudes = {n: jnp.log(STARTS[n]) for n in self.names if n in STARTS}
        hyper_state = self.hyper_optimizer.init((self.lower(params), log_magnitudes))
        inner = self.optimizer.init(params)
        return LearnedState(inner, log_magnitudes, hyper_state, jnp.zeros((), jnp.int32))

    def lower(self, params: Params) -> dict[str, jax.Array]:
        """The entries of the parameters that are learned on the validation loss, by their path."""
        leaves = jax.tree_util.tree_leaves_with_path(params)
        return {_path(path): leaf for path, leaf in leaves if self._is_lower(path)}

    def _is_lower(self, path: Any) -> bool:
        return any(f"'{name}'" in _path(path) for name in self.names if name in LOWER)


def learned_step(
    objective: Objective,
    learning: Learning,
    graphdef: GraphDef,
    state: TrainState,
    batch: Batch,
    *,
    axis_name: str | None = None,
) -> tuple[TrainState, Any]:
    """A window of upper-level steps and one of the hyper-parameters; reports what they are.

    Returns the state, and the training loss before the last step together with the values of all
    that is learned, by name. One device only: `axis_name` must be None.
    """
    if axis_name is not None:
        raise ValueError("expected one device for learned hyper-parameters; try --mesh data=1")
    inner, log_magnitudes, hyper_state, num_steps = state.optimizer_state
    lower = learning.lower(state.params)
    train, held_out = _split(batch)
    key = jax.random.fold_in(jax.random.key(learning.seed), num_steps)
    keys = jax.random.split(key, learning.window)
    problem = _Problem(objective, learning, graphdef, held_out)
    start = _Upper(state.params, state.rest, inner, jnp.zeros(()))
    windows = jax.tree.map(partial(_cut, learning.window), train), keys
    last, gradient = problem.look((lower, log_magnitudes), start, windows)
    updates, hyper_state = learning.hyper_optimizer.update(gradient, hyper_state)
    lower, log_magnitudes = optax.apply_updates((lower, log_magnitudes), updates)
    params = _with(last.params, lower)
    if "eta" in learning.names:
        params = _within_bound(graphdef, params, last.rest)
    learned = LearnedState(last.inner, log_magnitudes, hyper_state, num_steps + 1)
    measures = _values(graphdef, params, last.rest, log_magnitudes, learning.names)
    report = namedtuple("Learned", ["loss", *learning.names])  # type: ignore[misc]
    return TrainState(params, last.rest, learned), report._make((last.loss, *measures))


class _Upper(NamedTuple):
    """What one upper-level step hands to the next, its loss among it."""

    params: Params
    rest: Any
    inner: optax.OptState
    loss: jax.Array


class _Problem(NamedTuple):
    """Both losses as functions of parameters and hyper-parameters."""

    objective: Objective
    learning: Learning
    graphdef: GraphDef
    held_out: Batch

    def look(self, hyper: Any, start: _Upper, windows: Any) -> tuple[_Upper, Any]:
        """What comes after the window, and the gradient of the validation loss."""
        if self.learning.solve is None:
            return unrolled(self.step, self.validation_loss, hyper, start, windows)[1:]
        first = jax.tree.map(lambda leaf: leaf[0], windows)

        def training_loss(params: Params, hyper: Any) -> ScalarArray:
            return self.training_loss(params, start.rest, hyper, first)[0]

        def validation_loss(params: Params, hyper: Any) -> ScalarArray:
            return self.validation_loss(start._replace(params=params), hyper)

        solve = self.learning.solve
        _, gradient = implicit(training_loss, validation_loss, hyper, start.params, solve)
        return self.step(start, hyper, first), gradient

    def step(self, upper: _Upper, hyper: Any, batch: tuple[Batch, jax.Array]) -> _Upper:
        """One step of the optimiser; entries of `hyper` get no update, their gradient being 0."""
        value_and_grad = jax.value_and_grad(self.training_loss, has_aux=True)
        (value, rest), gradient = value_and_grad(upper.params, upper.rest, hyper, batch)
        updates, inner = self.learning.optimizer.update(gradient, upper.inner, upper.params)
        return _Upper(optax.apply_updates(upper.params, updates), rest, inner, value)

    def training_loss(
        self, params: Params, rest: Any, hyper: Any, batch: tuple[Batch, jax.Array]
    ) -> tuple[ScalarArray, Any]:
        """Of augmented samples, with weight decay ``w/2 |theta|^2``; the model's other state."""
        lower, log_magnitudes = hyper
        samples, key = batch
        samples = samples._replace(inputs=_augmented(samples.inputs, log_magnitudes, key))
        value, (rest, _) = loss(self.objective, self.graphdef, _with(params, lower), rest, samples)
        if "weight_decay" in log_magnitudes:
            weights = _with(params, jax.tree.map(jnp.zeros_like, lower))
            squares = optax.tree.norm(weights, squared=True)
            value += 0.5 * jnp.exp(log_magnitudes["weight_decay"]) * squares
        return value, rest

    def validation_loss(self, upper: _Upper, hyper: Any) -> ScalarArray:
        """Of the samples as they are, dropout off."""
        model = nnx.merge(self.graphdef, _with(upper.params, hyper[0]), upper.rest, copy=True)
        model.eval()
        losses = self.objective.loss(model(self.held_out.inputs), self.held_out.targets)
        return jnp.mean(losses)


def _split(batch: Batch) -> tuple[Batch, Batch]:
    halves = zip(batch.inputs, batch.targets, strict=True)
    train, held_out = (Batch(inputs, targets, batch.weights) for inputs, targets in halves)
    return train, held_out


def _cut(count: int, leaf: Any) -> Any:
    return leaf.reshape(count, len(leaf) // count, *leaf.shape[1:])


def _augmented(inputs: Any, log_magnitudes: Mapping[str, Any], key: jax.Array) -> Any:
    for number, (name, augment) in enumerate(AUGMENTATIONS.items()):
        if name in log_magnitudes:
            own = jax.random.fold_in(key, number)
            inputs = augment(inputs, jnp.exp(log_magnitudes[name]), own)
    return inputs


def _with(params: Params, entries: Mapping[str, Any]) -> Params:
    def entry(path: Any, leaf: Any) -> Any:
        return entries.get(_path(path), leaf)

    return jax.tree_util.tree_map_with_path(entry, params)


_path: Callable[[Any], str] = jax.tree_util.keystr


def _within_bound(graphdef: GraphDef, params: Params, rest: Any) -> Params:
    """With ``eta <= 1/L`` at these parameters, in every cell that learns log eta and knows L.

    A step or two ahead a larger eta may still look better, and soon after the rollout diverges.
    """
    model = nnx.merge(graphdef, params, rest, copy=True)
    for cell in _cells(model):
        with contextlib.suppress(ValueError):  # an energy whose bound is not known
            smoothness = cell.smoothness()
            if cell.resolve_eta is Positive.resolve:
                cell.eta[...] = jnp.minimum(cell.eta[...], -jnp.log(smoothness))
    return nnx.state(model, nnx.Param)


def _cells(model: nnx.Module) -> list[SBOCell]:
    return [module for _, module in nnx.iter_modules(model) if isinstance(module, SBOCell)]


def _values(
    graphdef: GraphDef, params: Params, rest: Any, log_magnitudes: Any, names: Sequence[str]
) -> list[jax.Array]:
    """Of eta and mu the mean over units and layers."""
    model = nnx.merge(graphdef, params, rest, copy=True)
    lower = [cell.hyperparameters() for cell in _cells(model)]

    def value(name: str) -> jax.Array:
        if name not in LOWER:
            return jnp.exp(log_magnitudes[name])
        return jnp.mean(jnp.stack([jnp.mean(pair[LOWER.index(name)]) for pair in lower]))

    return [value(name) for name in names]
