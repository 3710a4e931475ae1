"""Training for a number of steps that is known beforehand, without a look at a validation split."""

from flax import nnx
from jax.sharding import Mesh

from ..devices.mesh import PER_SAMPLE, compiled, own_share, put
from ..tasks._types import Source
from ..tasks.loader import training_batches
from .losses import Losses, OnStep
from .method import OF_STEP, Method, TrainState
from .objectives import Objective
from .step import init_state, put_state, whole_state


def fit_steps(
    model: nnx.Module,
    source: Source,
    objective: Objective,
    method: Method,
    *,
    num_steps: int,
    batch_size: int,
    seed: int,
    mesh: Mesh,
    on_step: OnStep = lambda step, loss: None,
) -> TrainState:
    """What the method keeps after `num_steps` steps on `source`, on one device of this process.

    For samples that stand for themselves: nothing is carried from batch to batch. Arguments mean
    what they mean to `fit`.

    Raises:
      Diverged: a loss or a measure became NaN or infinite.
    """
    graphdef, state = init_state(model, method, batch_size)
    state = put_state(mesh, state)
    step_fn = compiled(mesh, OF_STEP, method.step, objective, graphdef)
    losses = Losses(0, (), {}, graphdef, state, on_step)
    batches = training_batches(source, batch_size, seed=seed, share=own_share())
    for _ in range(num_steps):
        state, info = step_fn(state, put(mesh, PER_SAMPLE, next(batches)))
        losses.add(info, state)
    losses.look()
    return method.kept(whole_state(mesh, state))
