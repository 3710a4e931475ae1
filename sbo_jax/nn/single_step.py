"""A model of sequences, one time step at a time."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from .._types import AnyArray
from ..rollouts.reading import where_valid
from .carries import initial_carry
from .heads import Readout
from .stepping import check_steps, resolve


class SingleStep:
    """``carry, y_t = step(carry, x_t, valid)``: what the model reads out after every step.

    Equals the model on the whole sequence to rounding. Compiled when it is made, for the parameters
    of that moment: eta and mu are resolved once, where a layer computes the bound L at every call.

    Args:
      model: `SequenceClassifier` or another `Readout`; it stays as it is.
      batch_size: sequences that are read side by side.
      in_features: d, numbers per step.

    Attributes:
      initial_carry: before the first step; every array has a row for each sequence.
      out_features: k, numbers that are read out.

    Raises:
      ValueError: a model without a read-out, or whose layer needs the whole sequence at once.
    """

    def __init__(self, model: Any, batch_size: int, in_features: int):
        _check_readout(model)
        check_steps(model.rnn, "predict, or a layer that reads forwards with Unrolled")
        model = nnx.clone(model)
        model.eval()
        resolve(model.rnn)
        graphdef, state = nnx.split(model)
        # Leaves alone: flattening a module's state would take longer than the step.
        self._weights, tree = jax.tree.flatten(state)
        self.initial_carry = initial_carry(model.rnn, batch_size, in_features)
        self.out_features = model.bias.size
        self._all_valid = jnp.ones(batch_size, bool)

        def step(weights: list[Array], carry: Any, x: Array, valid: Array) -> tuple[Any, Array]:
            model = nnx.merge(graphdef, jax.tree.unflatten(tree, weights))
            new, states = model.rnn(
                x[:, None], initial_carry=carry, return_carry=True, time_major=False
            )
            return where_valid(valid, new, carry), model.read_out(states[:, 0])

        x = jax.ShapeDtypeStruct((batch_size, in_features), jnp.float32)
        arguments = self._weights, self.initial_carry, x, self._all_valid
        self._step = jax.jit(step).lower(*arguments).compile()

    def __call__(
        self,
        carry: Any,
        x: Float[AnyArray, "batch inputs"],
        valid: Bool[AnyArray, " batch"] | None = None,
    ) -> tuple[Any, Float[Array, "batch outputs"]]:
        """The next carry, and what is read out.

        Args:
          carry: that after the step before; it may be used again.
          x: float32; finite also where it is not valid.
          valid: where False, the carry stays as it is and the output means nothing; None: all True.
        """
        return self._step(self._weights, carry, x, self._all_valid if valid is None else valid)


def _check_readout(model: Any) -> None:
    if not isinstance(model, Readout):
        raise ValueError(
            f"expected a model that reads numbers and has a read-out, got {type(model).__name__}"
        )
