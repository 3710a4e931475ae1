"""Answers as rows of a table: one for every sequence, or for every step."""

import numpy as np
import pyarrow as pa

from ...tasks.own.table import Table
from ..trained_run import Answers, TrainedRun


def rows(run: TrainedRun, table: Table, answers: Answers) -> pa.Table:
    """The columns id, step and time where every step has an answer, answer, and probability.

    Where several numbers are predicted there is a column answer_NAME for each. The probability is
    that of the answer; numbers have none. Before the first step that is read there is no answer.
    """
    columns = {"id": pa.array(answers.ids, pa.string())}
    values, probabilities = answers.answers, answers.probabilities
    if isinstance(values, list):
        columns |= _steps(columns["id"], table)
        values = np.concatenate(values)
        probabilities = np.concatenate(probabilities) if probabilities is not None else None
    if values.ndim == 1:
        columns["answer"] = pa.array(values, from_pandas=True)
    else:
        for name, column in zip(output_names(run), values.T, strict=True):
            columns[f"answer_{name}"] = pa.array(np.ascontiguousarray(column), from_pandas=True)
    if probabilities is not None:
        columns["probability"] = pa.array(np.asarray(probabilities).max(axis=-1), from_pandas=True)
    return pa.table(columns)


def output_names(run: TrainedRun) -> list[str]:
    """Of the numbers that a run predicts: those of the files of training, or else 0, 1, ..."""
    count = run.content["model"]["out_features"]
    return list(run.reading.new_data.outputs) or list(map(str, range(count)))


def _steps(ids: pa.Array, table: Table) -> dict[str, pa.Array]:
    """The columns that say which step of which sequence a row is, counted from 0."""
    lengths = table.inputs.lengths
    places = np.repeat(np.arange(len(lengths)), lengths)
    steps = np.arange(len(places)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    times = {} if table.times is None else {"time": pa.array(table.times)}
    return {"id": ids.take(pa.array(places)), "step": pa.array(steps)} | times
