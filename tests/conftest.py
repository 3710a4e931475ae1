"""Shapes and types are checked at run time, rank promotion raises, x64 is on where a test asks."""

import jax
import numpy as np
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")

# The suite compiles thousands of small programs and runs each a few times.
jax.config.update("jax_disable_most_optimizations", True)

# Test modules are imported after this file: the package is checked when they import it.
install_import_hook("sbo_jax", "beartype.beartype")


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def rng():
    """A generator with a fresh seed each run; pytest shows the seed when the test fails."""
    seed = np.random.SeedSequence().entropy % 2**32
    print(f"seed {seed}")
    return np.random.default_rng(seed)
