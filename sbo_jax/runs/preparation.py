"""From a configuration to data and a model, whatever is wrong with it said before it trains."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from .. import tasks
from ..devices.memory import check_fits
from ..devices.mesh import SWEEP, as_text, check_divides, mesh_for_batch, parse_mesh, platform
from ..devices.processes import first_then_others
from ..nn.causal import check_causal
from ..nn.language_model import SequenceLanguageModel
from ..tasks._types import Batch, Recipe, Task
from ..tasks.loader import class_counts
from ..tasks.sources.joined import scaled_together
from ..tasks.sources.paired import paired
from ..tasks.sources.streams import TokenSource
from ..training.fit import Epoch, steps_per_epoch
from ..training.method import GraphDef, Method, TrainState
from ..training.objectives import OBJECTIVES, Objective, balanced, in_unit
from ..training.selection import Score, Selection
from ..training.step import init_state, read
from .build import build_model, check_model
from .config import TrainConfig, check
from .config.conditions import EXPLICIT, KERNELS, RELAXED
from .config.registry import ELEMENTWISE, SELECTIONS
from .config.train import Data
from .folder.description import TASK_SHAPE
from .methods import method
from .suggestions import suggested


class Prepared(NamedTuple):
    """A configuration that was found good: every user's mistake shows before this exists."""

    config: TrainConfig
    recipe: Recipe
    task: Task
    model: nnx.Module
    objective: Objective
    method: Method
    mesh: Mesh

    def init(self) -> tuple[GraphDef, TrainState]:
        """The model's static half, and the state before the first step."""
        return init_state(self.model, self.method, self.recipe.batch_size)

    @property
    def select(self) -> Selection:
        """What makes an epoch better than another."""
        return SELECTIONS[self.recipe.select]

    def score(self, epoch: Epoch) -> Score | None:
        """How good an epoch is; None for one without a validation."""
        if epoch.validation is None or epoch.validation_loss is None:
            return None
        return self.select(self.objective, epoch.epoch, epoch.validation, epoch.validation_loss)

    @property
    def num_parameters(self) -> int:
        leaves = jax.tree.leaves(nnx.state(self.model, nnx.Param))
        return sum(leaf.size for leaf in leaves)


def load_task(data: Data) -> Task:
    """The task that the options of the data name."""
    return tasks.load(
        data.task,
        seed=data.split_seed,
        length=data.length,
        train_fraction=data.train_fraction,
        folder=data.folder,
        data_dir=data.data_dir,
        raw_dir=data.raw_dir,
    )


def prepare(
    config: TrainConfig,
    load: Callable[[Data], Task] = load_task,
    devices: Sequence[jax.Device] | None = None,
) -> Prepared:
    """Load the data and draw the model, to be trained on `devices`, by default all there are.

    A configuration without a mesh is given that of `mesh_for_batch`.

    Raises:
      ValueError: anything wrong with the configuration or the data, in one sentence.
    """
    check(config)
    config = suggested(config)
    if config.method.learn_hyper and config.run.mesh is None:
        config = config.changed(mesh="data=1")
    mesh = _named_mesh(config, devices)
    # The model first: a wrong rank, or a rollout that does not fit, should not cost a download.
    check_model(config)
    task = first_then_others(lambda: load(config.data))
    check_lengths(config, task)
    check_augmentation(config, task)
    recipe = config.choice.recipe(config.upper.recipe(task))
    if not config.method.is_of_training_loss:
        recipe = replace(recipe, average=0.0, label_smoothing=0.0)
    if config.choice.refit:
        task = scaled_together(task)
    epoch_steps = steps_per_epoch(task, recipe.batch_size)
    if config.run.mesh is None:
        mesh = mesh_for_batch(recipe.batch_size, list(mesh.devices.flat))
    check_divides(mesh, recipe.batch_size)
    # All cores of a machine share its memory.
    memories = jax.process_count() if platform(mesh) == "cpu" else mesh.size
    check_size(config, task, recipe.batch_size // memories)
    shape = {name: getattr(task, name) for name in TASK_SHAPE}
    model = build_model(config, **shape, platform=platform(mesh))
    if isinstance(model, SequenceLanguageModel) and isinstance(task.train, TokenSource):
        model.start_from(task.train.counts(task.out_features))
    if task.forecasts:
        check_causal(model.rnn)
    _check_reads(model, task)
    if config.method.learn_hyper:
        task = paired(task)
    objective = _objective(config, task)
    trained_by = method(config, objective, model, recipe, epoch_steps)
    config = config.changed(mesh=as_text(mesh))
    return Prepared(config, recipe, task, model, objective, trained_by, mesh)


def _named_mesh(config: TrainConfig, devices: Sequence[jax.Device] | None) -> Mesh:
    """The devices that the configuration names, by default all; ValueError for wrong ones."""
    mesh, rollout = parse_mesh(config.run.mesh, devices), config.lower.rollout
    wanted = KERNELS.get(rollout, platform(mesh))
    if platform(mesh) != wanted:
        raise ValueError(
            f"expected a {wanted.upper()} for the rollout {rollout}, got {platform(mesh)}; try "
            f"unrolled"
        )
    if config.method.learn_hyper and mesh.size > 1:
        raise ValueError(
            f"expected one device to learn hyper-parameters, got {mesh.size}; try --mesh data=1"
        )
    if mesh.shape[SWEEP] > 1:
        raise ValueError(
            f"expected a mesh along data alone for a single run, got {config.run.mesh}; "
            f"sweep_eta.py trains many at once"
        )
    return mesh


def _objective(config: TrainConfig, task: Task) -> Objective:
    upper = config.upper
    for option in ("class_weight", "label_smoothing"):
        if getattr(upper, option) and task.metric != "accuracy":
            flag = config.options()[option].flag
            raise ValueError(
                f"{flag} has no effect on data with metric = {task.metric!r}; remove it"
            )
    if upper.class_weight is None:
        return OBJECTIVES[task.metric] if task.target_std is None else in_unit(task.target_std)
    if task.epoch_size < len(task.train):
        raise ValueError(
            f"--class-weight has no effect on the task {task.name}, whose samples are generated "
            f"with equally many of every class; remove it"
        )
    return balanced(class_counts(task.train, task.out_features))


def _check_reads(model: nnx.Module, task: Task) -> None:
    """ValueError for a layer that knows no lengths, or no state of every step, but should."""
    if task.is_equal and not task.per_step:
        return
    lengths = None if task.is_equal else np.ones(1, np.int32)
    inputs, one = np.zeros((1, 2, task.in_features), np.float32), np.ones(1, np.float32)
    batch = Batch(inputs, one, one, lengths)
    graphdef, state = nnx.split(model)

    def outputs(state: Any, batch: Batch) -> jax.Array:
        return read(nnx.merge(graphdef, state), batch, None)[1]

    jax.eval_shape(outputs, state, batch)


def check_lengths(config: TrainConfig, task: Task) -> None:
    """ValueError for unequal lengths, or targets of every step, where a method knows neither."""
    if task.is_equal and not task.per_step:
        return
    what = "a target for every step" if task.per_step else "sequences of unequal lengths"
    if config.method.training in RELAXED:
        raise ValueError(
            f"expected one target for each sequence of one length for --training "
            f"{config.method.training}, got {what}; try bptt"
        )
    if config.method.learn_hyper:
        raise ValueError(
            f"expected one target for each sequence of one length to learn hyper-parameters, got "
            f"{what}; leave --learn-hyper out"
        )


def check_augmentation(config: TrainConfig, task: Task) -> None:
    """ValueError for an augmentation after which targets would not belong to their inputs."""
    augmentation = config.augmentation
    if augmentation.shift and task.per_step:
        raise ValueError(
            "expected one target for each sequence for --shift, got one for every step, which "
            "would stay in its place; remove it"
        )
    if augmentation.scale and task.forecasts:
        raise ValueError(
            "expected targets that are no inputs for --scale, got later inputs, which would stay "
            "as they are; remove it"
        )


@lru_cache(maxsize=32)
def _num_parameters(config: TrainConfig, **shape: Any) -> int:
    """Of the model for a task of this shape, which is not drawn."""
    abstract = nnx.eval_shape(lambda: build_model(config, **shape))
    leaves = jax.tree.leaves(nnx.state(abstract, nnx.Param))
    return sum(math.prod(leaf.shape) for leaf in leaves)


def check_size(config: TrainConfig, task: Task, samples: int, num_models: int = 1) -> None:
    """ValueError if so many models, or so many samples, exceed the memory by themselves."""
    parameters = _num_parameters(config, **{name: getattr(task, name) for name in TASK_SHAPE})
    # Parameters, their gradient and Adam's two moments, in float32 at least.
    check_fits(
        f"a model and its training with {parameters * num_models} parameters",
        16 * parameters * num_models,
        "try a smaller hidden, or a smaller grid of a sweep",
    )
    if config.layer.model == "sbo" and config.lower.operator not in ELEMENTWISE:
        bound = 4 * config.layer.width**2
        check_fits("the matrix whose norm bounds the step", bound, "try a smaller hidden")
    inner_steps = config.lower.inner_steps or 1
    if config.lower.rollout in EXPLICIT:  # which keep every step for the gradient
        kept = 4 * inner_steps * samples * config.layer.width
        check_fits(f"{inner_steps} inner steps", kept, "try a smaller --inner-steps")
    numbers = samples * task.length * task.in_features
    check_fits("a batch", 4 * numbers, "try a smaller length or batch size")
