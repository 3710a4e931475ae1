"""Which layers have not read yet what they are to predict."""

from typing import Any

from flax import nnx


def check_causal(rnn: Any) -> None:
    """ValueError unless the states of this layer know the steps so far and no later ones."""
    rollout = getattr(rnn, "rollout", None)
    is_causal = not isinstance(rnn, nnx.Bidirectional) and getattr(rollout, "causal", True)
    if getattr(rnn, "reverse", False) or not is_causal:
        raise ValueError(
            "expected a layer whose states know the steps so far, got one that has read the steps "
            "to predict: read forwards, with a rollout like Unrolled()"
        )
