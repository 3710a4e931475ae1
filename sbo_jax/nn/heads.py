"""A recurrent layer with a linear read-out of its last state, or of every state."""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from .._checks import as_numbers, check_counts
from .._streams import Streams, as_streams, check_streams
from ..lower.operators import uniform
from .dropout import TIME, dropout_or_none, dropped
from .finite import check_finite_outputs, check_finite_steps
from .states import all_states, last_state


class Readout(nnx.Module):
    """``y = h W_o + b_o`` of states h, weights U(-1/sqrt(D), 1/sqrt(D)).

    Args:
      rnn: any layer called like `nnx.RNN` whose output at t depends on the inputs read up to t, in
        the direction that it has; or an `nnx.Bidirectional`.
      hidden_features: D, the width of its outputs.
      out_features: classes, or numbers to predict.
      input_dropout: probability of dropping a number that is read, in training.
      readout_dropout: the same for a number of a state that is read out.
      variational_dropout: the same for a feature that is read, at all steps of a sequence or at
        none (Gal & Ghahramani 2016).
      rngs: the stream `params`, and `dropout` where numbers are dropped.
    """

    # Which states of the layer are read out, as `last_state` gives them.
    _states: ClassVar[Callable[..., Array]]

    def __init__(
        self,
        rnn: Any,
        hidden_features: int,
        out_features: int,
        *,
        input_dropout: float = 0.0,
        readout_dropout: float = 0.0,
        variational_dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        if isinstance(rnn, nnx.RNNCellBase):
            name = type(rnn).__name__
            raise ValueError(f"expected a layer, got the cell {name}; wrap it in nnx.RNN")
        if not (isinstance(rnn, nnx.Module) and _reads_sequences(rnn)):
            raise ValueError(f"expected a layer called like nnx.RNN, got {rnn!r:.60}")
        check_counts(hidden_features=hidden_features, out_features=out_features)
        check_streams(rngs, "params")
        self.rnn = rnn
        self.kernel = nnx.Param(
            uniform(rngs.params(), (hidden_features, out_features), hidden_features, jnp.float32)
        )
        self.bias = nnx.Param(uniform(rngs.params(), (out_features,), hidden_features, jnp.float32))
        self.input_dropout = dropout_or_none(rngs, input_dropout=input_dropout)
        self.readout_dropout = dropout_or_none(rngs, readout_dropout=readout_dropout)
        self.variational_dropout = dropout_or_none(
            rngs, same_over=(TIME,), variational_dropout=variational_dropout
        )

    def __call__(
        self,
        inputs: Any,
        *,
        seq_lengths: Any = None,
        mask: Any = None,
        rngs: Streams = None,
    ) -> Float[Array, "*batch outputs"]:
        """Read out the last state, `[batch, out_features]`, or all, `[batch, time, out_features]`.

        The last is that after the last valid step; of all, those past it mean nothing.

        Args:
          inputs: `[batch, time, d]`.
          seq_lengths: `[batch]`, valid steps of each sample, up to T and at least 1, or 0 where the
            layer is SBORNN; ValueError for others, which are clipped where they are traced.
          mask: `[batch, time]`, False skips a step; for layers that take one, as SBORNN does.
          rngs: streams or a key that layers and dropout draw from, instead of their own streams.

        Raises:
          ValueError: inputs that are not `[batch, time >= 1, d]`, or a layer of another width.
        """
        inputs = as_numbers("inputs", inputs)
        if inputs.ndim != 3 or inputs.shape[1] == 0:
            raise ValueError(
                f"expected inputs [batch, time, features] with time >= 1, got shape {inputs.shape}"
            )
        rngs = as_streams(rngs)
        options = {"rngs": rngs} if mask is None else {"rngs": rngs, "mask": mask}
        inputs = dropped(self.variational_dropout, inputs, rngs)
        inputs = dropped(self.input_dropout, inputs, rngs)
        states = self._states(self.rnn, inputs, seq_lengths=seq_lengths, **options)
        if states.shape[-1] != len(self.kernel):
            raise ValueError(
                f"expected {len(self.kernel)} hidden features from the layer, as given to "
                f"{type(self).__name__}, got {states.shape[-1]}"
            )
        return self.read_out(dropped(self.readout_dropout, states, rngs))

    def read_out(self, states: Float[Array, "*batch hidden"]) -> Float[Array, "*batch outputs"]:
        """``h W_o + b_o`` of states that the layer has read."""
        outputs = states @ self.kernel[...]
        return outputs + jnp.broadcast_to(self.bias[...], outputs.shape)

    def _of_finite(self, inputs: Any, **kwargs: Any) -> Float[Array, "*batch outputs"]:
        """The call, ValueError where an input that it read or an output is not finite."""
        inputs = as_numbers("inputs", inputs)
        outputs = self(inputs, **kwargs)
        check_finite_steps(inputs, kwargs.get("seq_lengths"), kwargs.get("mask"))
        check_finite_outputs(outputs, kwargs.get("seq_lengths"))
        return outputs


class LastStateReadout(Readout):
    """``y = h_T W_o + b_o``; of an `nnx.Bidirectional`, each half is read out at its own end."""

    _states = staticmethod(last_state)


class EveryStateReadout(Readout):
    """``y_t = h_t W_o + b_o`` at every step."""

    _states = staticmethod(all_states)


def _reads_sequences(rnn: nnx.Module) -> bool:
    """Whether it takes the options that `nnx.RNN` takes."""
    if not callable(rnn):
        return False
    parameters = inspect.signature(rnn).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return takes_any or "seq_lengths" in parameters


class SequenceClassifier(LastStateReadout):
    """Logits ``h_T W_o + b_o`` per class: ``SequenceClassifier(rnn, D, classes, rngs=...)``."""

    def predict(self, inputs: Any, **kwargs: Any) -> Int[Array, " batch"]:
        """The most probable class of every sequence, `[batch]`; arguments as in the call.

        Raises:
          ValueError: an input that is not finite, within a sequence's length and mask.
        """
        return jnp.argmax(self._of_finite(inputs, **kwargs), axis=-1)


class SequenceRegressor(LastStateReadout):
    """Predictions ``h_T W_o + b_o``: ``SequenceRegressor(rnn, D, targets, rngs=...)``."""

    def predict(self, inputs: Any, **kwargs: Any) -> Float[Array, "batch outputs"]:
        """The predicted numbers of every sequence: the read-out itself.

        Raises:
          ValueError: an input that is not finite, within a sequence's length and mask.
        """
        return self._of_finite(inputs, **kwargs)


class SequenceTagger(EveryStateReadout):
    """Logits per class at every step: ``SequenceTagger(rnn, D, classes, rngs=...)``."""

    def predict(self, inputs: Any, **kwargs: Any) -> Int[Array, "batch time"]:
        """The most probable class at every step, `[batch, time]`; arguments as in the call.

        Raises:
          ValueError: an input that is not finite, within a sequence's length and mask.
        """
        return jnp.argmax(self._of_finite(inputs, **kwargs), axis=-1)


class SequenceForecaster(EveryStateReadout):
    """Numbers at every step: ``SequenceForecaster(rnn, D, targets, rngs=...)``."""

    def predict(self, inputs: Any, **kwargs: Any) -> Float[Array, "batch time outputs"]:
        """The predicted numbers at every step: the read-out itself.

        Raises:
          ValueError: an input that is not finite, within a sequence's length and mask.
        """
        return self._of_finite(inputs, **kwargs)
