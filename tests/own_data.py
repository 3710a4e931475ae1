"""The example of docs/own_data.md, written for tests."""

import os
import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs/own_data.md"


def write(folder):
    """The files of the page and its descriptions, in `folder`/gestures."""
    text = PAGE.read_text(encoding="utf-8")
    before = os.getcwd()
    os.chdir(folder)  # where the script of the page writes
    try:
        exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], {})
    finally:
        os.chdir(before)
    for name, content in re.findall(
        r"`gestures/(\w+\.toml)`:\n\n```toml\n(.*?)```", text, re.DOTALL
    ):
        (folder / "gestures" / name).write_text(content, encoding="utf-8")
    return folder / "gestures"
