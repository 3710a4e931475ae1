"""What somebody who is handed a trained model wants to know: ``python -m sbo_jax.card RUN``."""

from .sections import model_card as model_card
