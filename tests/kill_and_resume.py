"""Kill a run at random moments until it is done, and compare it with one that was left alone.

By hand, for it takes minutes: `python tests/kill_and_resume.py --help`.
"""

import random
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import tyro
from flax import nnx

import sbo_jax

ROOT = Path(__file__).parents[1]
SCRIPT = [sys.executable, str(ROOT / "scripts/train.py"), "--resume", "--epochs", "40", "--out"]


def life(folder: Path, seconds: float | None = None) -> tuple[int, float]:
    """One process on the run in `folder`, killed after so many seconds; exit code, lifetime."""
    began = time.monotonic()
    process = subprocess.Popen([*SCRIPT, str(folder)], stdout=-3, stderr=-3)
    try:
        code = process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    return code, time.monotonic() - began


def content(folder: Path) -> list[bytes]:
    """The log and the bits of the model."""
    leaves = jax.tree.leaves(nnx.state(sbo_jax.load(folder).model, nnx.Param))
    return [(folder / "metrics.jsonl").read_bytes(), *(np.asarray(x).tobytes() for x in leaves)]


def main(folder: tyro.conf.Positional[Path], kills: int = 20, seed: int = 0) -> None:
    """Train on digits in FOLDER/whole, and in FOLDER/killed until so many kills have hit."""
    code, whole = life(folder / "whole")
    assert code == 0
    print(f"seed {seed}; left alone: {whole:.1f} s", flush=True)
    draw, killed = random.Random(seed), 0
    while killed < kills:
        code, lived = life(folder / "killed", draw.uniform(0, whole))
        killed += code != 0
        lines = folder / "killed" / "metrics.jsonl"
        epochs = len(lines.read_text().splitlines()) if lines.exists() else 0
        print(f"kill {killed}: after {lived:.1f} s, exit code {code}, {epochs} epochs", flush=True)
        if code == 0:
            check(folder)
            (folder / "killed").rename(folder / f"done-{killed}")
    life(folder / "killed")
    check(folder)


def check(folder: Path) -> None:
    assert content(folder / "killed") == content(folder / "whole"), "they differ"
    print("done, and equal to the one left alone, bit by bit", flush=True)


if __name__ == "__main__":
    tyro.cli(main)
