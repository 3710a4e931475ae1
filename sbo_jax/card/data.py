"""The data that a model was trained on, as config.json describes them."""

from collections.abc import Iterator
from pathlib import Path

from .._words import counted
from ..disk.text import Json
from ..trained import TrainedRun
from .markdown import listed, plain, table

_PARTS = ("train", "validation", "test")
# More features than these are a table that nobody reads.
_MOST_FEATURES = 30


def data(run: TrainedRun) -> Iterator[str]:
    """Paragraphs and tables: samples, splits, features, gaps."""
    facts, config = run.content["task"], run.content["config"]
    yield "*To be filled in: where the data come from, whom they describe, their licence.*"
    place = f" in `{_shown(config['folder'])}`" if config.get("folder") else ""
    longest = "up to " * ("padded_to" in facts) + counted(run.content["model"]["length"], "step")
    digest = f" SHA-256 of the samples: `{facts['sha256']}`." if "sha256" in facts else ""
    yield f"Task `{config['task']}`{place}; sequences of {longest}.{digest}"
    yield _splits(facts)
    yield " ".join(_treated(facts))
    if run.metric != "perplexity" and "mean" in facts:
        yield _features(run)


def _shown(folder: str) -> str:
    """The end of a path: where the data were on one machine helps nobody else."""
    return "/".join(Path(folder).parts[-2:]).replace("`", "")


def _splits(facts: Json) -> str:
    counts, groups = facts.get("counts", {}), facts.get("held_out_groups", {})
    rows = [
        [part, f"{counts[part]:,}", plain(facts.get(part, "")), listed(groups.get(part, ()))]
        for part in _PARTS
        if part in counts
    ]
    return table(["split", "samples", "held out", "groups"], rows) if rows else ""


def _treated(facts: Json) -> Iterator[str]:
    """What was done about gaps and long sequences, in all splits together."""
    if gaps := facts.get("missing"):
        found = sum(sum(gaps[part]["gaps"]) for part in _PARTS)
        carried, skipped = (
            sum(gaps[part][name] for part in _PARTS) for name in ("carried", "skipped_steps")
        )
        yield (
            f"{counted(found, 'gap')} in the features. {counted(carried, 'gap')} took the value "
            f"before; {counted(skipped, 'step')} of gaps alone were left out; all others became "
            f"the mean of their feature, with an indicator where training has gaps in it."
        )
    if limit := facts.get("max_length"):
        cut = sum(limit[part]["cut"] for part in _PARTS)
        yield (
            f"{counted(cut, 'sequence')} longer than {counted(limit['steps'], 'step')}, of which "
            f"the {limit['keep']} is kept."
        )


def _features(run: TrainedRun) -> str:
    scaler = run.scaler
    width = len(scaler.mean)
    where = "training and validation" if run.content["config"]["refit"] else "training"
    if width > _MOST_FEATURES:
        return f"{width} features, scaled by their mean and standard deviation in {where}."
    rows = [
        [plain(name), f"{mean:.6g}", f"{std:.6g}"]
        for name, mean, std in zip(
            run.features or range(width), scaler.mean, scaler.std, strict=True
        )
    ]
    return table(["feature", f"mean in {where}", "standard deviation"], rows)
