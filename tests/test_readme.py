"""What the README says can be typed."""

import re
from pathlib import Path

import jax

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_snippet_runs_as_it_stands():
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(snippet, names)
    assert names["logits"].shape == (32, 10)
    assert all(jax.numpy.all(jax.numpy.isfinite(leaf)) for leaf in jax.tree.leaves(names["grads"]))


def test_both_commands_are_one_line_that_sets_itself_up():
    for name in ("train", "test"):
        block = re.search(rf"<!-- {name} -->\n```bash\n(.*?)```", README, re.DOTALL)
        (line,) = block.group(1).strip().splitlines()
        assert line.startswith("python3 -m venv .venv && .venv/bin/pip install")
