"""The test metric of every epoch, for those who ask: it decides nothing.

RUN/test_epochs.jsonl   one line per epoch, where --report-test-epochs asks for it

The paper's release reports the epoch that is best on the test split. Such a number is too good: it
was chosen on the samples that it is measured on. Here it stands beside one that was not.
"""

import json
import math
from typing import Any

from ...devices.processes import from_first, together
from ...disk.text import Json
from ...training.fit import BetweenBatches, Epoch, Evaluator
from ..folder.run_folder import RunFolder
from ..preparation import Prepared

_NAME = "test_epochs.jsonl"


class EpochsOnTest:
    """Logs what every epoch reaches on the test split, from where the folder's log stands."""

    def __init__(self, prepared: Prepared, folder: RunFolder, between_batches: BetweenBatches):
        self._objective, self._test, self._folder = prepared.objective, prepared.task.test, folder
        graphdef, _ = prepared.init()
        batch_size, mesh = prepared.recipe.batch_size, prepared.mesh
        self._evaluate = Evaluator(self._objective, graphdef, batch_size, mesh, between_batches)
        path = folder.path / _NAME
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        self._lines: list[Json] = from_first([json.loads(line) for line in text.splitlines()])

    def add(self, epoch: Epoch) -> None:
        """Look at the test split after an epoch; KeyboardInterrupt from `between_batches`."""
        _, value = self._evaluate(epoch.state, self._test)
        known = value if math.isfinite(value) else None
        line: Json = {"epoch": epoch.epoch, "step": epoch.step, "test": known}
        together(lambda: self._folder.append_line(_NAME, line))
        self._lines.append(line)

    def summary(self, epochs: int) -> dict[str, Any]:
        """The first of the best epochs, None unless all of so many are known."""
        known = [line for line in self._lines if line["test"] is not None]
        if not known or len(self._lines) < epochs:
            return {"best_test_epoch": None, "best_test": None}
        pick = max if self._objective.higher_is_better else min
        best = pick(known, key=lambda line: line["test"])
        return {"best_test_epoch": best["epoch"], "best_test": best["test"]}
