"""Run as one or several processes: the first one writes what test_processes.py looks at."""

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flax import nnx

from sbo_jax import SBORNN, SequenceLanguageModel, tasks
from sbo_jax.devices.processes import Processes, from_first, is_first, join, together
from sbo_jax.runs.build import HEADS
from sbo_jax.tasks import Source
from sbo_jax.tasks._types import Recipe, Task
from sbo_jax.tasks.sources.streams import TokenSource
from sbo_jax.training.fit import Start, fit
from sbo_jax.training.objectives import OBJECTIVES
from sbo_jax.training.optimizer import default_optimizer
from sbo_jax.training.step import bptt

STEPS = 100


@dataclass(frozen=True)
class First:
    """A batch of samples: the curve is that of training."""

    source: Source

    def __len__(self):
        return 8

    def fetch(self, indices):
        return self.source.fetch(indices)


def curve(name, dtype, seed):
    """The loss of every step."""
    task = tasks.load(name, length=10 if name == "adding" else None)
    task = replace(task, epoch_size=8 * STEPS, validation=First(task.validation))
    rngs = nnx.Rngs(seed)
    rnn = SBORNN(task.in_features, 8, param_dtype=dtype, rngs=rngs)
    model = HEADS[task.metric][task.per_step](rnn, 8, task.out_features, rngs=rngs)
    cast = jax.tree.map(lambda leaf: leaf.astype(dtype), nnx.state(model, nnx.Param))
    nnx.update(model, cast)
    losses = []
    options = {"batch_size": 8, "seed": seed, "on_step": lambda _, loss: losses.append(loss)}
    method = bptt(default_optimizer(1e-2, STEPS))
    list(fit(model, task, OBJECTIVES[task.metric], method, epochs=1, **options))
    return losses


def stop_early(step, loss):
    """Ctrl-C at the loop's first look at its losses."""
    raise KeyboardInterrupt


def text_curve(seed):
    """Losses and perplexity of a text that is left in its middle and gone on with."""
    tokens = np.random.default_rng(seed).integers(0, 11, 8 * 6 * 32 + 1).astype(np.int32)
    source = TokenSource(tokens, 6)
    task = Task("text", source, source, source, 6, 11, 11, "perplexity", 256, Recipe(1, 8, 0.1), {})
    rngs = nnx.Rngs(seed)
    model = SequenceLanguageModel(SBORNN(8, 8, rngs=rngs), 8, 11, rngs=rngs)
    method = bptt(default_optimizer(1e-2, STEPS))
    part = partial(fit, model, task, OBJECTIVES["perplexity"], method, epochs=1, batch_size=8)
    (cut,) = part(on_step=stop_early)
    assert 0 < len(cut.losses) < 32
    (whole,) = part(start=Start(cut.state, 0, cut.losses, None))
    return [*whole.losses, whole.validation]


def fails_in_the_last():
    if jax.process_index() == jax.process_count() - 1:
        raise ValueError("no data here")


def main(out: Path, seed: int, processes: Processes) -> None:
    join(processes)
    found = {"count": jax.process_count(), "first": from_first(jax.process_index())}
    exact = np.float32([-0.0, np.nan, 1e-42])
    found["bits"] = from_first(exact if is_first() else exact[:1]).tobytes().hex()
    try:
        together(fails_in_the_last)
    except ValueError as error:
        found["error"] = f"{type(error).__name__}: {error}"
    for name in ("adding", "digits"):
        for dtype in (jnp.float32, jnp.float64):
            with jax.enable_x64(dtype == jnp.float64):
                found[f"{name} {dtype.__name__}"] = curve(name, dtype, seed)
    found["text"] = text_curve(seed)
    if is_first():
        out.write_text(json.dumps(found))


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.OmitArgPrefixes,))
