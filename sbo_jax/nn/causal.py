"""Which layers have not read yet what they are to predict."""

from typing import Any

from flax import nnx


def is_causal(rnn: Any) -> bool:
    """Whether the states of this layer know the steps so far and no later ones."""
    if isinstance(rnn, nnx.Bidirectional) or getattr(rnn, "reverse", False):
        return False
    return bool(getattr(getattr(rnn, "rollout", None), "causal", True))


def check_causal(rnn: Any) -> None:
    """ValueError unless the states of this layer know the steps so far and no later ones."""
    if not is_causal(rnn):
        raise ValueError(
            "expected a layer whose states know the steps so far, got one that has read the steps "
            "to predict: read forwards, with a rollout like Unrolled()"
        )
