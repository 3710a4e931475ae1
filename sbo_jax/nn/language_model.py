"""A recurrent layer that predicts the next token at every step."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from .._checks import as_numbers, check_counts, is_known
from .._streams import Streams, as_streams, check_streams
from .._types import AnyArray, Size
from ..lower.operators import uniform
from .carries import carries, initial_carry
from .causal import check_causal
from .dropout import TIME, dropout_or_none, dropped
from .validity import as_lengths


class SequenceLanguageModel(nnx.Module):
    """``x_t = sqrt(D) E[token_t]``, ``logits_t = h_t W_o + b_o``; tied, W_o is E transposed.

    E ~ N(0, 1/D), so that inputs have variance 1; the untied W_o ~ U(-1/sqrt(D), 1/sqrt(D)); b_o is
    0 until `start_from` is called. Source: Press & Wolf 2017, for tied weights.

    Args:
      rnn: any layer called like `nnx.RNN` that takes and returns a carry, with D inputs.
      hidden_features: D, the width of its outputs and of the embedding.
      vocabulary: V, the number of different tokens.
      tied: one matrix for inputs and outputs.
      input_dropout: probability of dropping a number of an embedding that is read, in training.
      readout_dropout: the same for a number of a state that is read out.
      variational_dropout: the same for a feature of the embedding, at all tokens of a call or at
        none (Gal & Ghahramani 2016).
      rngs: the stream `params`, and `dropout` where numbers are dropped.

    Raises:
      ValueError: a layer that returns no carry, like ShaRNN, or whose states know later
        words, because it reads backwards or for an equilibrium of the whole sequence.
    """

    def __init__(
        self,
        rnn: nnx.Module,
        hidden_features: int,
        vocabulary: int,
        *,
        tied: bool = True,
        input_dropout: float = 0.0,
        readout_dropout: float = 0.0,
        variational_dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        if not carries(rnn):
            raise ValueError(
                f"expected a layer that returns its carry, like SBORNN or nnx.RNN, got "
                f"{type(rnn).__name__}"
            )
        check_causal(rnn)
        check_counts(hidden_features=hidden_features, vocabulary=vocabulary)
        check_streams(rngs, "params")
        self.rnn: Any = rnn
        self.hidden_features = hidden_features
        self.embedding = nnx.Embed(vocabulary, hidden_features, rngs=rngs)
        kernel = None if tied else _kernel(hidden_features, vocabulary, rngs)
        self.kernel = nnx.data(None) if kernel is None else nnx.Param(kernel)
        self.bias = nnx.Param(jnp.zeros(vocabulary))
        self.input_dropout = dropout_or_none(rngs, input_dropout=input_dropout)
        self.readout_dropout = dropout_or_none(rngs, readout_dropout=readout_dropout)
        self.variational_dropout = dropout_or_none(
            rngs, same_over=(TIME,), variational_dropout=variational_dropout
        )

    def start_from(self, counts: Any) -> None:
        """Set b_o to the tokens' log frequencies, with one added to every count.

        The untrained model then knows which words are frequent. A small learning rate takes
        thousands of steps to learn it: between words 10,000 times apart, b_o must move by 9.
        """
        counts = as_numbers("counts", counts)
        if counts.shape != self.bias.shape:
            raise ValueError(f"expected counts of {self.bias.size} tokens, got {counts.shape}")
        smoothed = jnp.asarray(counts, jnp.float32) + 1
        self.bias[...] = jnp.log(smoothed / jnp.sum(smoothed))

    def initialize_carry(self, batch_size: Size) -> Any:
        """The carry of `rnn` before the first token of `batch_size` sequences."""
        return initial_carry(self.rnn, batch_size, self.hidden_features)

    def __call__(
        self,
        tokens: Any,
        *,
        initial_carry: Any = None,
        return_carry: bool = False,
        seq_lengths: Any = None,
        rngs: Streams = None,
    ) -> Any:
        """Logits `[batch, time, V]` of the token after each one; ``(carry, logits)`` if asked.

        Args:
          tokens: 0 to V - 1.
          initial_carry: the carry of an earlier call; by default the beginning of a text.
          return_carry: also return the carry after the last token.
          seq_lengths: `[batch]`, valid tokens of each sequence, 1 to T; logits past them mean
            nothing. ValueError for others, which are clipped where they are traced.
          rngs: streams or a key that layers and dropout draw from, instead of their own streams.
        """
        tokens = as_numbers("tokens", tokens)
        if not jnp.issubdtype(tokens.dtype, jnp.integer):
            raise ValueError(f"expected tokens as whole numbers, got {tokens.dtype}")
        if tokens.ndim != 2 or tokens.shape[1] == 0:
            raise ValueError(
                f"expected tokens [batch, time] with time >= 1, got shape {tokens.shape}"
            )
        if seq_lengths is not None:
            seq_lengths = as_lengths(seq_lengths, tokens.shape[:1], tokens.shape[1], lowest=1)
        if initial_carry is None:
            initial_carry = self.initialize_carry(tokens.shape[0])
        self._check_tokens(tokens)
        rngs = as_streams(rngs)
        inputs = self.embedding(jnp.asarray(tokens)) * self.hidden_features**0.5
        inputs = dropped(self.variational_dropout, inputs, rngs)
        carry, hs = self.rnn(
            dropped(self.input_dropout, inputs, rngs),
            initial_carry=initial_carry,
            seq_lengths=seq_lengths,
            return_carry=True,
            time_major=False,
            reverse=False,
            rngs=rngs,
        )
        if hs.shape[-1] != self.hidden_features:
            raise ValueError(
                f"expected {self.hidden_features} hidden features from the layer, as given to "
                f"{type(self).__name__}, got {hs.shape[-1]}"
            )
        logits = self._logits(dropped(self.readout_dropout, hs, rngs))
        return (carry, logits) if return_carry else logits

    def predict(self, tokens: Any, **options: Any) -> Int[Array, "batch time"]:
        """The most probable next token after each one; arguments as in the call."""
        return jnp.argmax(self(tokens, **options | {"return_carry": False}), axis=-1)

    def _check_tokens(self, tokens: AnyArray) -> None:
        """ValueError for a token outside the vocabulary, whose embedding would be NaN."""
        count = self.embedding.num_embeddings
        if is_known(tokens) and not ((tokens >= 0) & (tokens < count)).all():
            raise ValueError(f"expected tokens from 0 to {count - 1}, got others")

    def _logits(self, hs: Float[Array, "batch time hidden"]) -> Float[Array, "batch time tokens"]:
        logits = self.embedding.attend(hs) if self.kernel is None else hs @ self.kernel[...]
        return logits + jnp.broadcast_to(self.bias[...], logits.shape)


def _kernel(features: int, vocabulary: int, rngs: nnx.Rngs) -> Float[Array, "hidden tokens"]:
    return uniform(rngs.params(), (features, vocabulary), features, jnp.float32)
