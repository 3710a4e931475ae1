"""Shapes and types are checked at run time, rank promotion raises, x64 is on where a test asks."""

import atexit
import os
import shutil
import tempfile

import compiled
import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# Read when JAX looks for devices, here and in the processes that tests start.
os.environ["XLA_FLAGS"] = f"{compiled.XLA_FLAGS} {os.environ.get('XLA_FLAGS', '')}".strip()
jax.config.update("jax_numpy_rank_promotion", "raise")

# The suite compiles thousands of small programs, many of them again and again, and runs each a few
# times. The processes that tests start share a cache; this one has its own, since jax warns of a
# file that another process is still writing, and warnings are errors here.
CACHES = tempfile.mkdtemp()
atexit.register(shutil.rmtree, CACHES, ignore_errors=True)
# A GPU and a TPU round the operands of products by default; the laws are those of float32.
for name, value in {
    "jax_default_matmul_precision": "highest",
    "jax_disable_most_optimizations": True,
    "jax_compilation_cache_dir": CACHES,
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}.items():
    jax.config.update(name, value)
    os.environ[name.upper()] = str(value)
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.join(CACHES, "of children")

# Test modules are imported after this file: the package is checked when they import it.
install_import_hook("sbo_jax", "beartype.beartype")


def pytest_addoption(parser):
    parser.addoption("--fuzz", type=int, default=6, help="examples of every test in test_fuzz.py")
    text = "all of scikit-learn's checks of SBORegressor as well"
    parser.addoption("--every-check", action="store_true", help=text)
    text = "compile every model for a TPU as well, where libtpu is installed"
    parser.addoption("--every-program", action="store_true", help=text)


def pytest_configure(config):
    settings.register_profile(
        "fuzz",
        max_examples=config.getoption("--fuzz"),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


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
