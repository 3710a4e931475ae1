"""What was understood of a data set, in words, before anything is trained on it."""

import numpy as np

from .._words import counted, listed
from ._types import Task
from .sources.buckets import bucket_of
from .sources.ragged import Ragged
from .sources.sequences import NO_CLASS, SequenceSource

_PARTS = ("train", "validation", "test")


def account(task: Task) -> str:
    """One paragraph: sequences, lengths, features, targets, and what is held out."""
    sources = {"training": task.train, "validation": task.validation, "test": task.test}
    counts = ", ".join(f"{len(source)} for {split}" for split, source in sources.items())
    sentences = [f"{task.name}: {counts}", _lengths(task), _features(task), *_targets(task)]
    sentences += [*_treated(task), *_held_out(task)]
    sentences += [task.copy] if task.copy else []
    return ". ".join(sentences) + "."


def _lengths(task: Task) -> str:
    if task.is_equal or not isinstance(task.train, SequenceSource):
        return f"Each has {counted(task.length, 'step')}"
    lengths, padded_to = task.train.inputs.lengths, task.train.buckets
    padding = 1 - lengths.sum() / np.take(padded_to, bucket_of(lengths, padded_to)).sum()
    own = "one length" if len(padded_to) == 1 else f"{len(padded_to)} lengths"
    return (
        f"Training sequences have {lengths.min()} to {lengths.max()} steps (median "
        f"{np.median(lengths):g}); padded to {own}, {padding:.0%} is padding"
    )


def _features(task: Task) -> str:
    names = task.facts.get("features") or []
    indicators = len(task.facts.get("indicated", ()))
    count = task.in_features - indicators
    added = f", and indicators of gaps in {indicators} of them" if indicators else ""
    return f"{counted(count, 'feature')}{f': {listed(names)}' if names else ''}{added}"


def _targets(task: Task) -> list[str]:
    where = "at every step" if task.per_step else "for each"
    if task.forecasts:
        return [_forecast(task)]
    if task.metric != "accuracy":
        return [f"{counted(task.out_features, 'number')} to predict {where}"]
    names = task.facts.get("classes") or range(task.out_features)
    counts = _class_counts(task, "train")
    if counts is None:
        return [f"{len(names)} classes"]
    told = listed([f"{name} {count}" for name, count in zip(names, counts, strict=True)])
    return [f"{len(names)} classes {where}, in training: {told}"]


def _forecast(task: Task) -> str:
    sources = (task.train, task.validation, task.test)
    targets = [source.targets for source in sources if isinstance(source, SequenceSource)]
    short = sum(int((t.lengths == 0).sum()) for t in targets if isinstance(t, Ragged))
    are = counted(short, "sequence is", "sequences are")
    without = f"; {are} too short to have a target" if short else ""
    return f"Features {counted(task.facts['horizon'], 'step')} later are predicted{without}"


def _treated(task: Task) -> list[str]:
    """What was done about gaps and long sequences, in all parts together."""
    sentences = []
    if gaps := task.facts.get("missing"):
        found, carried, skipped = (
            sum(int(np.sum(gaps[part][count])) for part in _PARTS)
            for count in ("gaps", "carried", "skipped_steps")
        )
        sentences.append(
            f"{counted(found, 'gap')}: {carried:,} carried, {counted(skipped, 'step')} left out"
        )
    if limit := task.facts.get("max_length"):
        cut, steps = (sum(limit[part][count] for part in _PARTS) for count in ("cut", "steps_cut"))
        most = counted(limit["steps"], "step")
        sentences.append(f"{counted(cut, 'sequence')} cut to {most}, by {steps:,} in all")
    return sentences


def _held_out(task: Task) -> list[str]:
    """How the samples for validation and test were chosen, where the data set states it."""
    splits = [name for name in ("validation", "test") if name in task.facts]
    rules = [f"for {name}, {task.facts[name]}" for name in splits]
    absent = [f"none of {names} in {part}" for part, names in absent_classes(task).items()]
    return [f"Held out: {'; '.join([*rules, *absent])}"] if rules else []


def absent_classes(task: Task) -> dict[str, str]:
    """By the part that is held out, the classes without a sample or a labelled step there."""
    names = task.facts.get("classes") or range(task.out_features)
    counts = {part: _class_counts(task, part) for part in ("validation", "test")}
    return {
        part: listed([names[number] for number in np.flatnonzero(count == 0)])
        for part, count in counts.items()
        if count is not None and (count == 0).any()
    }


def _class_counts(task: Task, part: str) -> np.ndarray | None:
    """How often each class is the target in this part; None of other targets and sources."""
    source = getattr(task, part)
    if task.metric != "accuracy" or not isinstance(source, SequenceSource):
        return None
    targets = source.targets
    labels = np.concatenate(list(targets)) if isinstance(targets, Ragged) else targets
    return np.bincount(labels[labels != NO_CLASS], minlength=task.out_features)
