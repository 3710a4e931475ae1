"""Training with hidden states as free variables: models as networks that `relaxations` can relax.

The relaxed state of a time step is all that it carries: with momentum, h and the solver's state.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, PyTree

from .._types import AnyArray, LowerCarry
from ..lower.energies import Transition
from ..lower.operators import Dense
from ..lower.solvers import sgd
from ..lower.step import check_state_per_unit, lower_step
from ..nn.cell import SBOCell
from ..nn.heads import LastStateReadout
from ..nn.layer import SBORNN
from ..relaxations.block_coordinate import ReLUNetwork, ReLUParameters
from ..relaxations.network import Network, Relaxation, RelaxedInfo
from ..rollouts.unrolled import Unrolled
from ..tasks._types import Batch
from .method import GraphDef, Method, Params, Rest, TrainState, UpperInfo
from .objectives import Objective, PerSample, cross_entropy, squared_error
from .step import check_equal_lengths

# c with Hessian <= c I in the outputs: for softmax Boehning's 1/2.
_CURVATURES: dict[PerSample, Callable[[Array], float]] = {
    cross_entropy: lambda outputs: 0.5,
    squared_error: lambda outputs: 2 / outputs.shape[-1],
}

MakeNetwork: TypeAlias = Callable[[Objective, GraphDef, Params, Rest], Network | ReLUNetwork]


def by_relaxation(make_network: MakeNetwork, relaxation: Relaxation) -> Method:
    """One step of `relaxation` on every batch, with hidden states as free variables.

    The samples of a batch are of equal length and count alike, whatever their weights. The
    measures, at the parameters before the step: loss and metric of the true recursion, the metric
    of the relaxed h_T beside them, the size of the residual, and the penalty.
    """

    def step(
        objective: Objective,
        graphdef: GraphDef,
        state: TrainState,
        batch: Batch,
        *,
        axis_name: str | None = None,
    ) -> tuple[TrainState, UpperInfo]:
        params, rest, inner, _ = state
        check_equal_lengths(batch)

        def average(tree: PyTree) -> PyTree:
            return tree if axis_name is None else jax.lax.pmean(tree, axis_name)

        network = make_network(objective, graphdef, params, rest)
        xs = jnp.moveaxis(jnp.asarray(batch.inputs), 1, 0)
        params, inner, info = relaxation.step(network, params, inner, xs, batch.targets, average)
        return TrainState(params, rest, inner), _report(objective, info, batch, average)

    return Method(relaxation.init, step)


def _report(
    objective: Objective,
    info: RelaxedInfo,
    batch: Batch,
    average: Callable[[PyTree], PyTree],
) -> UpperInfo:
    loss, true_metric, relaxed_metric = average(
        (
            jnp.mean(objective.loss(info.outputs, batch.targets)),
            jnp.mean(objective.metric(info.outputs, batch.targets)),
            jnp.mean(objective.metric(info.relaxed_outputs, batch.targets)),
        )
    )
    measures = OrderedDict(
        true_metric=true_metric,
        relaxed_metric=relaxed_metric,
        residual_mean=info.residual_mean,
        residual_max=info.residual_max,
        penalty=info.penalty,
    )
    return UpperInfo(loss, measures)


def network(objective: Objective, graphdef: GraphDef, params: Params, rest: Rest) -> Network:
    """The functions of a model with one recurrent layer."""
    merge = partial(nnx.merge, graphdef, copy=True)
    carry = check_relaxable(merge(params, rest))
    widths = [leaf.shape[-1] for leaf in jax.tree.leaves(carry)]
    splits = [sum(widths[:n]) for n in range(1, len(widths))]

    def pack(carry: PyTree) -> Array:
        return jnp.concatenate(jax.tree.leaves(carry), axis=-1)

    def unpack(z: Array) -> PyTree:
        return jax.tree.unflatten(jax.tree.structure(carry), jnp.split(z, splits, axis=-1))

    def transition(params: Params) -> Callable[[Array, AnyArray], Array]:
        step = _cell_step(_cell(merge(params, rest)))
        return lambda z, x: pack(step(unpack(z), x))

    def readout(params: Params, z: Array) -> Array:
        return merge(params, rest).read_out(z[..., : widths[0]])

    return Network(transition, readout, objective.loss, sum(widths))


def relu_network(
    objective: Objective, graphdef: GraphDef, params: Params, rest: Rest
) -> ReLUNetwork:
    """The same for a vanilla ReLU network that `check_relu` has passed, with its weights."""
    merge = partial(nnx.merge, graphdef, copy=True)

    def weights(params: Params) -> ReLUParameters:
        model = merge(params, rest)
        cell = _cell(model)
        w = cell.theta.a[...] + jnp.eye(cell.hidden_features, dtype=cell.param_dtype)
        arrays = cell.kernel, cell.bias, model.kernel, model.bias
        return ReLUParameters(w, *(array[...] for array in arrays))

    def moved(params: Params, change: ReLUParameters) -> Params:
        model = merge(params, rest)
        cell = _cell(model)
        variables = cell.theta.a, cell.kernel, cell.bias, model.kernel, model.bias
        for variable, delta in zip(variables, change, strict=True):
            variable[...] += delta
        return nnx.state(model, nnx.Param)

    functions = network(objective, graphdef, params, rest)
    return ReLUNetwork(functions, weights, moved, _CURVATURES[objective.loss])


def check_relu(objective: Objective, model: nnx.Module) -> None:
    """ValueError unless every block of this model has a closed form."""
    check_relaxable(model)
    cell = _cell(model)
    if objective.loss not in _CURVATURES:
        raise ValueError(f"expected cross entropy or squared error, got {objective.loss}")
    if another := _not_vanilla(cell):
        raise ValueError(
            f"expected h_t = relu(h_(t-1) W + x_t V + b), whose blocks have closed forms, got "
            f"{another}; try --model sbo --energy transition --activation relu --solver sgd "
            f"--eta 1 --eta-kind fixed --operator dense with short sequences, or --training penalty"
        )


def _not_vanilla(cell: nnx.RNNCellBase) -> str | None:
    """What makes this cell another one than a vanilla ReLU network, if anything does."""
    if not isinstance(cell, SBOCell):
        return type(cell).__name__
    if not isinstance(cell.problem, Transition):
        return "another energy than transition"
    if cell.problem != Transition(jax.nn.relu):
        return "another activation than relu"
    if cell.solver is not sgd:
        return "another solver than sgd"
    if not isinstance(cell.theta, Dense):
        return f"the operator {type(cell.theta).__name__}"
    if nnx.state(cell, nnx.Param).keys() & {"eta"}:
        return "an eta that is learned"
    if any(float(jnp.max(jnp.abs(eta - 1))) for eta in cell.hyperparameters()):
        return "an eta that is not 1"
    return None


def check_relaxable(model: nnx.Module) -> PyTree:
    """The shapes of the cell's carry for one sample; ValueError unless `network` can relax it."""
    if not isinstance(model, LastStateReadout):
        raise ValueError(f"expected a sequence classifier or regressor, got {type(model).__name__}")
    rnn = model.rnn
    if not isinstance(rnn, nnx.RNN | SBORNN):
        raise ValueError(
            f"expected a layer of one cell, got {type(rnn).__name__}; try the training bptt"
        )
    if isinstance(rnn, SBORNN):
        _check_one_step_per_input(rnn)
    if rnn.reverse:
        raise ValueError("expected a layer that reads forwards, got reverse=True; try bptt")
    if any(isinstance(module, nnx.Dropout) for _, module in nnx.iter_modules(model)):
        raise ValueError("expected a model without dropout, got one with it; try bptt")
    cell = _cell(model)
    if isinstance(cell, SBOCell) and cell.inner_steps > 1:
        raise ValueError(f"expected one step per input, got {cell.inner_steps}; try bptt")
    carry = jax.eval_shape(lambda: cell.initialize_carry((1, cell.in_features), nnx.Rngs(0)))
    if isinstance(carry, LowerCarry):
        check_state_per_unit(carry)
    elif len(jax.tree.leaves(carry)) != 1:
        raise ValueError(
            f"expected a cell that carries its output alone, or an SBO cell, got "
            f"{type(cell).__name__}; try the training bptt"
        )
    return carry


def _check_one_step_per_input(rnn: SBORNN) -> None:
    if len(rnn.cells) > 1:
        raise ValueError("expected a single recurrent layer, got several; try the training bptt")
    if not (isinstance(rnn.rollout, Unrolled) and rnn.rollout.inner_steps == 1):
        raise ValueError(f"expected one unrolled step per input, got {rnn.rollout}; try bptt")


def _cell(model: Any) -> Any:
    return model.rnn.cells[0] if isinstance(model.rnn, SBORNN) else model.rnn.cell


def _cell_step(cell: nnx.RNNCellBase) -> Callable[[PyTree, AnyArray], PyTree]:
    """The cell as a pure function; what is the same at all steps is computed here."""
    if not isinstance(cell, SBOCell):
        return lambda carry, x: cell(carry, jnp.asarray(x))[0]
    solver, theta = cell.lower_solver(), nnx.as_pure(cell.theta)

    def step(carry: LowerCarry, x: AnyArray) -> LowerCarry:
        return lower_step(cell.problem, solver, carry, cell.drive(x), theta)

    return step
