"""What setup.cfg, the hooks and CI say agrees."""

import re
from configparser import ConfigParser
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def requirements():
    """Every requirement of setup.cfg, those of the extras too."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lists = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    lines = {line for text in lists for line in text.splitlines() if line and line[0] != "#"}
    return [Requirement(line) for line in lines]


def constraints():
    lines = (ROOT / "docs/results/constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and line[0] != "#")


def test_the_versions_that_results_were_measured_on_can_still_be_installed():
    versions = {re.sub("[-_.]+", "-", name).lower(): v for name, v in constraints().items()}
    assert {"jax", "jaxlib", "flax", "optax", "numpy", "torch"} <= versions.keys()
    for requirement in requirements():
        measured = versions.get(re.sub("[-_.]+", "-", requirement.name).lower())
        assert measured is None or requirement.specifier.contains(measured), requirement


def test_the_hooks_run_the_commands_of_ci():
    hooks = re.findall(r"entry: (.*)", (ROOT / ".pre-commit-config.yaml").read_text())
    stages = [line.split('" ')[-1] for line in (ROOT / ".ci/run").read_text().splitlines()]
    assert len(hooks) == 3
    assert set(hooks) <= set(stages)
