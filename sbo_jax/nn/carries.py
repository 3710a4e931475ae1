"""What layers hand from one piece of a sequence to the next."""

from typing import Any

from flax import nnx

from .._types import Size


def carries(rnn: Any) -> bool:
    """Whether a layer takes and returns a carry, as `SBORNN` and `nnx.RNN` do."""
    return hasattr(rnn, "initialize_carry") or hasattr(rnn, "cell")


def initial_carry(rnn: Any, batch_size: Size, in_features: int) -> Any:
    """The carry before the first step of `batch_size` sequences."""
    if hasattr(rnn, "initialize_carry"):
        return rnn.initialize_carry((batch_size,))
    # Flax's own cells draw their first state, zeros included.
    return rnn.cell.initialize_carry((batch_size, in_features), nnx.Rngs(0))
