"""Train an SBO-RNN: `python scripts/train.py --help`."""

import json
import signal
import sys
from datetime import datetime
from pathlib import Path

import tyro
from tqdm import tqdm

from sbo_jax import plots
from sbo_jax.training import Epoch, RunFolder, TrainConfig, prepare, train
from sbo_jax.training.fit import steps_per_epoch
from sbo_jax.training.run import Prepared


class Bar:
    """A progress bar over steps, with the loss, the last validation metric and samples/s."""

    def __init__(self, prepared: Prepared):
        recipe = prepared.recipe
        steps = steps_per_epoch(prepared.task, recipe.batch_size)
        self._bar = tqdm(
            total=recipe.epochs * steps * recipe.batch_size,
            unit=" samples",
            unit_scale=True,
            dynamic_ncols=True,
        )
        self._batch_size = recipe.batch_size
        self._validation = "-"

    def step(self, step: int, loss: float) -> None:
        self._bar.set_postfix_str(f"loss {loss:.4g}, validation {self._validation}", refresh=False)
        self._bar.update(self._batch_size)

    def epoch(self, report: Epoch) -> None:
        self._validation = f"{report.validation:.4g}"
        self._bar.set_description(f"epoch {report.epoch}")

    def close(self) -> None:
        self._bar.close()


def main(config: TrainConfig) -> int:
    """Run the configuration; exit code 0, or 1 diverged, 2 bad input, 130 interrupted."""
    try:
        prepared = prepare(config)
        default = Path("runs", f"{config.task}-{datetime.now():%Y%m%d-%H%M%S}")
        folder = RunFolder(config.out or default)
    except ValueError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    with folder:
        bar = Bar(prepared)
        summary = train(prepared, folder, bar)
        bar.close()
    draw_curves(folder.path, summary)
    print(folder.path)
    print("{task}: {model}, {parameters} parameters, {seconds} s".format(**summary))
    if "stopped" in summary:
        print(f"stopped: {summary['stopped']}")
        return 130 if summary["stopped"] == "interrupted" else 1
    print(
        "{metric}: test {test:.4g}, validation {best_validation:.4g} at epoch {best_epoch}".format(
            **summary
        )
    )
    return 0


def draw_curves(folder: Path, summary: dict) -> None:
    metrics = folder / "metrics.jsonl"
    if metrics.exists():
        lines = [json.loads(line) for line in metrics.read_text().splitlines()]
        figure = plots.learning_curves(lines, summary["metric"], summary["best_epoch"])
        figure.savefig(folder / "curves.png", dpi=120)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(tyro.cli(TrainConfig)))
