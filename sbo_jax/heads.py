"""A recurrent layer with a linear read-out of its last state."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Shaped

from ._types import AnyArray
from .operators import uniform


class _LastStateReadout(nnx.Module):
    """``y = h_T W_o + b_o``, weights U(-1/sqrt(D), 1/sqrt(D)).

    Args:
      rnn: any layer called like `nnx.RNN` whose output at t depends on the inputs up to t.
      hidden_features: D, the width of its outputs.
      out_features: classes, or numbers to predict.
      rngs: the stream `params`.
    """

    def __init__(self, rnn: nnx.Module, hidden_features: int, out_features: int, *, rngs: nnx.Rngs):
        self.rnn = rnn
        self.kernel = nnx.Param(
            uniform(rngs.params(), (hidden_features, out_features), hidden_features, jnp.float32)
        )
        self.bias = nnx.Param(uniform(rngs.params(), (out_features,), hidden_features, jnp.float32))

    def __call__(
        self,
        inputs: Shaped[AnyArray, "batch time inputs"],
        *,
        seq_lengths: Int[AnyArray, " batch"] | None = None,
        **rnn_arguments: Any,
    ) -> Float[Array, "batch outputs"]:
        """Read out the state after the last valid step; `mask` and the like go on to the layer."""
        if inputs.ndim != 3:
            raise ValueError(f"expected inputs [batch, time, features], got shape {inputs.shape}")
        hs = self.rnn(
            jnp.swapaxes(inputs, 0, 1), time_major=True, seq_lengths=seq_lengths, **rnn_arguments
        )
        last = hs[-1] if seq_lengths is None else hs[seq_lengths - 1, jnp.arange(len(inputs))]
        outputs = last @ self.kernel[...]
        return outputs + jnp.broadcast_to(self.bias[...], outputs.shape)


class SequenceClassifier(_LastStateReadout):
    """Logits ``h_T W_o + b_o``, one per class."""

    def predict(
        self, inputs: Shaped[AnyArray, "batch time inputs"], **kwargs: Any
    ) -> Int[Array, " batch"]:
        """The most probable class of every sequence."""
        return jnp.argmax(self(inputs, **kwargs), axis=-1)


class SequenceRegressor(_LastStateReadout):
    """Predictions ``h_T W_o + b_o``, one per target."""

    def predict(
        self, inputs: Shaped[AnyArray, "batch time inputs"], **kwargs: Any
    ) -> Float[Array, "batch outputs"]:
        """The predicted numbers of every sequence: the read-out itself."""
        return self(inputs, **kwargs)
