"""Write the Daily and Sports Activities of the UCI archive as a table for --task folder.

    unzip daily+and+sports+activities.zip
    python scripts/experiments/daily_sports_data.py data daily_sports
    python scripts/benchmark.py run scripts/experiments/daily_sports.toml

data/a01/p1/s01.txt is the first of 60 segments of what person 1 did first: 125 lines (5 seconds at
25 Hz) of 45 numbers (Altun, Barshan and Tuncel 2010, https://archive.ics.uci.edu/dataset/256). The
people 1 to 4 are for training and validation and 5 to 8 for the test: 4,560 segments each, as many
as in Kusupati et al. 2018, who do not say which.
"""

import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ACTIVITIES = (
    "sitting",
    "standing",
    "lying on back",
    "lying on right side",
    "ascending stairs",
    "descending stairs",
    "standing in an elevator",
    "moving around in an elevator",
    "walking in a parking lot",
    "walking on a flat treadmill",
    "walking on an inclined treadmill",
    "running on a treadmill",
    "exercising on a stepper",
    "exercising on a cross trainer",
    "cycling, horizontal",
    "cycling, vertical",
    "rowing",
    "jumping",
    "playing basketball",
)
_PLACES = ("torso", "right arm", "left arm", "right leg", "left leg")
_SENSORS = ("accelerometer", "gyroscope", "magnetometer")
FEATURES = [f"{place} {sensor} {axis}" for place, sensor, axis in product(_PLACES, _SENSORS, "xyz")]
_TEST_PEOPLE = ("p5", "p6", "p7", "p8")
_DESCRIPTION = """\
table = "segments.parquet"
sequence = "segment"
label = "activity"
group = "person"
split = "part"
"""


def write(source: Path, folder: Path) -> None:
    """One table of all segments, a line a step, and the description that says what is in it."""
    files = sorted(source.glob("a*/p*/s*.txt"))
    if not files:
        sys.exit(f"expected files such as a01/p1/s01.txt in {source}, found none")
    folder.mkdir(parents=True)
    tables = _tables(files)
    first = next(tables)
    with pq.ParquetWriter(folder / "segments.parquet", first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)
    (folder / "dataset.toml").write_text(_DESCRIPTION, encoding="utf-8")
    print(f"{folder}: {len(files):,} segments")


def _tables(files: list[Path]) -> Iterator[pa.Table]:
    """One for what a person did in one activity."""
    for folder in sorted({file.parent for file in files}):
        yield pa.concat_tables(_table(file) for file in files if file.parent == folder)


def _table(file: Path) -> pa.Table:
    """A segment's steps, each with its activity, person and part."""
    activity, person, segment = file.with_suffix("").parts[-3:]
    steps = np.loadtxt(file, dtype=np.float32, delimiter=",", ndmin=2)
    if steps.shape[1] != len(FEATURES):
        sys.exit(f"expected {len(FEATURES)} numbers a line in {file}, got {steps.shape[1]}")
    about = {
        "segment": f"{activity}-{person}-{segment}",
        "activity": ACTIVITIES[int(activity[1:]) - 1],
        "person": person,
        "part": "test" if person in _TEST_PEOPLE else "train",
    }
    columns = {name: [value] * len(steps) for name, value in about.items()}
    return pa.table(columns | dict(zip(FEATURES, steps.T, strict=True)))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("expected two folders; try daily_sports_data.py data daily_sports")
    write(Path(sys.argv[1]), Path(sys.argv[2]))
