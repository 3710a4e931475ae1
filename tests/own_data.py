"""The example of docs/own_data.md, written for tests."""

import os
import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs/own_data.md"


# Every length that sequences are padded to is compiled.
FEW_LENGTHS = {
    "rng.integers(20, 41, size=120)": "rng.choice([20, 31, 40], size=120)",
    "30 + number % 11": "30 + 5 * (number % 3)",
}


def write(folder):
    """The files of the page and its descriptions, in `folder`/gestures; of three lengths."""
    text = PAGE.read_text(encoding="utf-8")
    for many, few in FEW_LENGTHS.items():
        assert many in text
        text = text.replace(many, few)
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
