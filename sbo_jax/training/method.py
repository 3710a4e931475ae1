"""A method of training: how the parameters, and what it carries beside them, take one step.

The two levels have one shape. The lower one is an ``optax.GradientTransformation(init, update)``,
which hands a `LowerCarry` from input to input and reports a `LowerInfo`; the upper one is a
``Method(init, step)``, which hands a `TrainState` from batch to batch and reports an `UpperInfo`.
States are carried, infos are reported, and they never mix.

`step.bptt` makes a method of an optax optimiser, `relaxed.by_relaxation` of a relaxation, and
`learn_hyper.learning_hyperparameters` learns hyper-parameters on the validation loss as well;
`averaging.averaged` keeps an average of the parameters that a method trains.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from flax import nnx
from jaxtyping import Array, PyTree

from .._types import ScalarArray
from ..devices.mesh import PER_SAMPLE, REPLICATED, Places
from ..tasks._types import Batch
from .objectives import Objective

# What nnx.split gives: the static half of a model, which jit keys on, and its variables.
GraphDef: TypeAlias = nnx.GraphDef[Any]
Params: TypeAlias = PyTree
Rest: TypeAlias = PyTree
MethodState: TypeAlias = PyTree
Carry: TypeAlias = PyTree


class TrainState(NamedTuple):
    """What one upper-level step hands to the next.

    Args:
      params: what is trained.
      rest: all other state of the model: fixed hyper-parameters of the lower level, random streams.
      method_state: what the method carries, the optimiser's moments among it.
      carry: where the sequences of the next batch go on, for models with an ``initialize_carry``;
        None for others, which begin anew with every batch.
    """

    params: Params
    rest: Rest
    method_state: MethodState
    carry: Carry = None


class UpperInfo(NamedTuple):
    """What an upper-level step reports: the training loss before it, and more numbers by name.

    ``measures`` is ordered, which a plain dict would not be: jit sorts the keys of a dict.
    """

    loss: ScalarArray
    measures: Mapping[str, Array]


# Over a mesh: all devices know the parameters, and each what its own sequences carry.
STATE_PLACES = TrainState(REPLICATED, REPLICATED, REPLICATED, PER_SAMPLE)
OF_STEP = Places(STATE_PLACES, (STATE_PLACES, REPLICATED))


class Step(Protocol):
    """One upper-level step on a batch, pure.

    With `axis_name`, on this device's share of the batch and of the carry.
    """

    def __call__(
        self,
        objective: Objective,
        graphdef: GraphDef,
        state: TrainState,
        batch: Batch,
        *,
        axis_name: str | None = None,
    ) -> tuple[TrainState, UpperInfo]: ...

    def __hash__(self) -> int: ...


def _as_trained(state: TrainState) -> TrainState:
    return state


class Method(NamedTuple):
    """A way to train: ``init(params) -> method_state`` and a `Step`.

    ``kept(state)`` has the parameters of the model that is judged and kept, which are those that
    are trained, or an average of them.
    """

    init: Callable[[Params], MethodState]
    step: Step
    kept: Callable[[TrainState], TrainState] = _as_trained
