"""A trained model as one zip file, which answers where sbo_jax is not installed."""

from .archive import write as write
from .program import exported as exported
