"""The command: ``python -m sbo_jax.card RUN``, to standard output, or to a file with --out."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ..devices.failures import in_one_sentence
from ..disk.paths import local_path
from ..disk.text import replace_text
from ..trained import load
from .sections import model_card


@dataclass(frozen=True)
class Config:
    """Write the model card of a run, in Markdown."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """run folder, here or in a bucket"""
    out: Path | None = None
    """file to write, which must not be there yet; None: standard output"""


def main(config: Config) -> int:
    """Write the card."""
    out = None if config.out is None else local_path(config.out)
    if out is not None and (out.exists() or out.is_symlink()):
        raise ValueError(f"expected a new file for --out, got {out}, which is there; move it away")
    card = model_card(load(config.run))
    if out is None:
        print(card, end="")
    else:
        replace_text(out, card)
    return 0


@in_one_sentence("card")
def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Parse and write."""
    return main(tyro.cli(Config, args=arguments, prog="python -m sbo_jax.card"))


if __name__ == "__main__":
    sys.exit(run_command_line())
