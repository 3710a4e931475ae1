"""A layer whose state is an associative memory: a matrix per head, written by the delta rule."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype
from jaxtyping import Array, Float, Shaped

from .._checks import check_counts
from .._streams import check_streams
from .._types import LowerCarry, LowerSolver, MaskSequence, Size
from .._words import counted
from ..lower.operators import check_product_dtype, product, uniform
from ..lower.recall import Association, Recall
from ..lower.solvers import sgd
from ..lower.step import init_carry, kinds
from ..rollouts.chunked import unroll_chunked
from ..rollouts.unrolled import default_chunk, unroll
from .compaction import at_steps, compacted, spread_out
from .sequences import SequenceLayer
from .validity import check_features

# Steps that a convolution sees: the present one, and those before that a carry holds.
_WIDTH = 4


class RecallCarry(NamedTuple):
    """What one step of a layer hands to the next.

    Args:
      memory: S of every head, `[*batch, heads, size, size]`, and the state of its solver.
      window: what the convolution still sees, `[*batch, 3, 3 * hidden]`.
    """

    memory: LowerCarry
    window: Float[Array, "*batch steps features"]


class RecallRNN(SequenceLayer):
    """``S_t = S_{t-1} - grad_S beta_t/2 ||S_{t-1} k_t - v_t||^2``, read as ``y_t = S_t q_t``.

    Every layer has several memories side by side. Key, value and query are linear maps of the
    input, each followed by a causal convolution over four steps and SiLU; keys and queries then
    have norm 1, so that no beta_t, the sigmoid of another map, is too large a step. The answers of
    all heads have mean square 1 and go through one more map. Every later layer adds its outputs to
    its inputs.

    Called like `nnx.RNN`; a mask and `seq_lengths` are treated as by `SBORNN`, but outputs before
    the first valid step of a call are 0. The carry is a tuple, one `RecallCarry` per layer.

    Args:
      in_features: d, numbers per time step.
      hidden_features: D, the outputs of every layer; a multiple of `num_heads`.
      num_layers: the outputs of one layer are the inputs of the next.
      num_heads: memories per layer, of D / num_heads keys and as many values.
      solver: of the memories, such as ``heavy_ball(0.5, 0.9)`` for a curvature of at most 1; they
        are then read step by step. None: ``sgd(1)``, the delta rule, read by chunks of steps, whose
        number must be known; see `read_step_by_step`.
      time_major, return_carry, reverse, keep_order: defaults of the call's arguments.
      dtype: of the products with parameters, for example bfloat16; memories keep `param_dtype`.
      param_dtype: of parameters and memories.
      rngs: the stream `params`.

    Source: Yang et al. 2024 (DeltaNet), with the convolution of Gu & Dao 2023.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int = 128,
        *,
        num_layers: int = 1,
        num_heads: int = 2,
        solver: Any = None,
        time_major: bool = False,
        return_carry: bool = False,
        reverse: bool = False,
        keep_order: bool = False,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(
            time_major=time_major,
            return_carry=return_carry,
            reverse=reverse,
            keep_order=keep_order,
        )
        check_counts(
            in_features=in_features,
            hidden_features=hidden_features,
            num_layers=num_layers,
            num_heads=num_heads,
        )
        check_streams(rngs, "params")
        if hidden_features % num_heads:
            raise ValueError(
                f"expected hidden_features as a multiple of {counted(num_heads, 'head')}, got "
                f"{hidden_features}"
            )
        self.in_features = in_features
        self.hidden_features = hidden_features
        widths = [in_features] + [hidden_features] * (num_layers - 1)
        self.memories = nnx.List(
            _Memories(width, hidden_features, num_heads, solver, dtype, param_dtype, rngs)
            for width in widths
        )
        self.initialize_carry(())  # refuses a solver that is none

    def initialize_carry(self, batch_shape: tuple[Size, ...]) -> tuple[RecallCarry, ...]:
        """One `RecallCarry` per layer: empty memories, before the first step."""
        return tuple(memories.initialize_carry(batch_shape) for memories in self.memories)

    def read_step_by_step(self) -> None:
        """Do without chunks, in place: for export to sequences of any number of steps."""
        for memories in self.memories:
            memories.solver = memories.solver or sgd(1.0)

    def _read(
        self,
        xs: Shaped[Array, "time *batch inputs"],
        valid: MaskSequence | None,
        initial_carry: Any,
        rngs: nnx.Rngs | nnx.RngStream | None,
    ) -> tuple[tuple[RecallCarry, ...], Float[Array, "time *batch hidden"], tuple[None, ...]]:
        fresh = self.initialize_carry(xs.shape[1:-1])
        carries = fresh if initial_carry is None else _as_carry(initial_carry, fresh)
        check_features(xs, self.in_features)
        ys, mask = (xs, None) if valid is None else compacted(xs, valid)
        ends = []
        for layer, (memories, carry) in enumerate(zip(self.memories, carries, strict=True)):
            end, answers = memories(ys, carry, mask)
            ys = answers if layer == 0 else ys + answers
            ends.append(end)
        ys = ys if valid is None else spread_out(ys, valid)
        return tuple(ends), ys, (None,) * len(ends)


class _Memories(nnx.Module):
    """The memories of one layer, and the maps around them; see `RecallRNN`."""

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        num_heads: int,
        solver: Any,
        dtype: Dtype | None,
        param_dtype: Dtype,
        rngs: nnx.Rngs,
    ):
        check_product_dtype(param_dtype)
        if dtype is not None:
            check_product_dtype(dtype)

        def draw(rows: int, columns: int) -> nnx.Param:
            return nnx.Param(uniform(rngs.params(), (rows, columns), rows, param_dtype))

        self.num_heads, self.size = num_heads, hidden_features // num_heads
        self.solver: LowerSolver | None = solver
        self.dtype, self.param_dtype = dtype, param_dtype
        # The columns of one head stand side by side, so that a mesh can share them out by heads.
        self.kernel = draw(in_features, 3 * hidden_features)
        self.window = draw(_WIDTH, 3 * hidden_features)
        self.weight_kernel = draw(in_features, num_heads)
        self.weight_bias = nnx.Param(jnp.zeros(num_heads, param_dtype))
        self.scale = nnx.Param(jnp.ones(self.size, param_dtype))
        self.out_kernel = draw(hidden_features, hidden_features)

    def initialize_carry(self, batch_shape: tuple[Size, ...]) -> RecallCarry:
        heads, size = self.num_heads, self.size
        memory = jnp.zeros((*batch_shape, heads, size, size), self.param_dtype)
        window = jnp.zeros((*batch_shape, _WIDTH - 1, 3 * heads * size), self.param_dtype)
        return RecallCarry(init_carry(self.solver or sgd(1.0), memory), window)

    def __call__(
        self, inputs: Any, carry: RecallCarry, mask: MaskSequence | None
    ) -> tuple[RecallCarry, Float[Array, "time *batch hidden"]]:
        """The carry after the valid steps, which come first, and the outputs of all steps."""
        xs = jnp.asarray(inputs, self.param_dtype)
        before = jnp.moveaxis(carry.window, -2, 0)
        seen = jnp.concatenate([before, product(xs, self.kernel[...], self.dtype)])
        memory, answers = self._write(carry.memory, self._associations(xs, seen), mask)
        answers = _of_norm_1(answers) * self.size**0.5 * _like(answers, self.scale[...])
        answers = answers.reshape(*xs.shape[:-1], self.num_heads * self.size)
        outputs = product(answers, self.out_kernel[...], self.dtype)
        return RecallCarry(memory, _last_steps(seen, mask)), outputs

    def _associations(
        self,
        xs: Float[Array, "time *batch inputs"],
        seen: Float[Array, "steps *batch features"],
    ) -> Association:
        """What every step writes and asks, each array with an axis for heads."""
        parts = [seen[i : i + xs.shape[0]] for i in range(_WIDTH)]
        convolved = sum(
            _like(part, row) * part for part, row in zip(parts, self.window[...], strict=True)
        )
        by_head = jax.nn.silu(convolved).reshape(*xs.shape[:-1], self.num_heads, 3 * self.size)
        query, key, value = jnp.split(by_head, 3, axis=-1)
        weight = product(xs, self.weight_kernel[...], self.dtype)
        weight = jax.nn.sigmoid(weight + _like(weight, self.weight_bias[...]))
        return Association(_of_norm_1(key), value, weight, _of_norm_1(query))

    def _write(
        self, carry: LowerCarry, written: Association, mask: MaskSequence | None
    ) -> tuple[LowerCarry, Float[Array, "time *batch heads values"]]:
        if self.solver is None:
            memory, answers = unroll_chunked(carry.h, written, mask=mask)
            return LowerCarry(memory, carry.solver_state), answers
        return unroll(
            Recall(),
            self.solver,
            carry,
            written,
            None,
            mask=mask,
            read=Recall.read,
            remat_chunk=default_chunk(written.key.shape[0], carry.h),
        )


def _as_carry(given: Any, fresh: tuple[RecallCarry, ...]) -> tuple[RecallCarry, ...]:
    """The same arrays as a carry, also of plain tuples; ValueError unless they are like `fresh`."""
    expected, found = (jax.tree.leaves(kinds(carry)) for carry in (fresh, given))
    if expected != found:
        raise ValueError(
            f"expected a carry of this layer, {', '.join(expected)}, got "
            f"{', '.join(found)[:200] or given!r}; try initialize_carry"
        )
    return jax.tree.unflatten(jax.tree.structure(fresh), jax.tree.leaves(given))


def _of_norm_1(xs: Array) -> Array:
    return xs * jax.lax.rsqrt(jnp.sum(xs * xs, axis=-1, keepdims=True) + 1e-6)


def _like(xs: Array, row: Array) -> Array:
    return jnp.broadcast_to(row, xs.shape)


def _last_steps(seen: Array, mask: MaskSequence | None) -> Float[Array, "*batch steps features"]:
    """The last steps of a convolution's window: those before the first that is still to come."""
    if mask is None:
        return jnp.moveaxis(seen[1 - _WIDTH :], 0, -2)
    steps = jnp.arange(_WIDTH - 1).reshape(-1, *[1] * (mask.ndim - 1)) + jnp.sum(
        mask, axis=0, keepdims=True
    )
    return jnp.moveaxis(at_steps(seen, steps), 0, -2)
