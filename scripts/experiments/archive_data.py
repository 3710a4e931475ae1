"""Write eight archive data sets as folders for --task folder, and print what 1-NN with DTW reaches.

    python -m venv aeon && aeon/bin/pip install aeon==1.6.0
    aeon/bin/python scripts/experiments/archive_data.py archive
    aeon/bin/python scripts/experiments/archive_data.py --dtw

aeon, in whose package the data are, has an environment of its own: it needs another NumPy. The
archive's splits into training and test samples stay as they are.
"""

import sys
from pathlib import Path

import numpy as np
from aeon.classification.distance_based import KNeighborsTimeSeriesClassifier
from aeon.datasets import load_classification

NAMES = (
    "ACSF1",
    "ArrowHead",
    "BasicMotions",
    "GunPoint",
    "ItalyPowerDemand",
    "JapaneseVowels",
    "OSULeaf",
    "PickupGestureWiimoteZ",
)


def write(folder: Path) -> None:
    """One CSV file per sequence, a time step a line, and an index that says which are for test."""
    for name in NAMES:
        own = folder / name
        own.mkdir(parents=True)
        lines = ["file,label,split"]
        for split in ("train", "test"):
            sequences, labels = load_classification(name, split=split)
            for number, (sequence, label) in enumerate(zip(sequences, labels, strict=True)):
                file = f"{split}-{number:04}.csv"
                np.savetxt(own / file, np.asarray(sequence).T, "%.9g", delimiter=",")
                lines.append(f"{file},class {label},{split}")
        (own / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (own / "dataset.toml").write_text('index = "index.csv"\n', encoding="utf-8")
        print(own)


def print_dtw() -> None:
    """Test accuracy of the nearest neighbour by dynamic time warping, aeon's defaults."""
    for name in NAMES:
        classifier = KNeighborsTimeSeriesClassifier(distance="dtw")
        classifier.fit(*load_classification(name, split="train"))
        score = classifier.score(*load_classification(name, split="test"))
        print(f"{name}: {100 * score:.1f} %", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--dtw"]:
        print_dtw()
    elif len(sys.argv) == 2:
        write(Path(sys.argv[1]))
    else:
        sys.exit("expected a folder to write to, or --dtw; try archive_data.py archive")
