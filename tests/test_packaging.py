"""What setup.cfg, the hooks and CI say agrees."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_hooks_run_the_commands_of_ci():
    hooks = re.findall(r"entry: (.*)", (ROOT / ".pre-commit-config.yaml").read_text())
    stages = [line.split('" ')[-1] for line in (ROOT / ".ci/run").read_text().splitlines()]
    assert len(hooks) == 3
    assert set(hooks) <= set(stages)
