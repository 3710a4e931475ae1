"""The zip file of an exported model; the same bytes for the same model.

program.bin    the model, in JAX's export format
model.json     what it reads and answers, and how it was trained
predict.py     from data to answers; needs jax, flatbuffers and numpy
README.md      how to use these
"""

import os
import zipfile
from pathlib import Path
from typing import Any

from jax.export import Exported

from ...disk.paths import local_path, own_temporary
from ...disk.text import Json, json_text
from ..answering import Answering
from ..reading import Reading
from .model_json import PROGRAM, description
from .program import exported

# The earliest time that a file in a zip can have.
_TIME = (1980, 1, 1, 0, 0, 0)
_README = """\
# A sequence model, exported from sbo_jax

    pip install "jax>={jax}" flatbuffers numpy
    python predict.py data.npy

`data.npy` holds sequences [N, T, {features}]; predict.py says more, and how to use it from Python.
model.json is what is known of the model. The program runs on {platforms}, in JAX {jax} and
later; JAX promises to read it for six months.

predict.py is part of sbo_jax, under the Apache License 2.0
(https://www.apache.org/licenses/LICENSE-2.0). Whoever trained the model chooses the licence of the
rest.
"""


def write(
    path: str | os.PathLike[str],
    model: Any,
    reading: Reading,
    answering: Answering,
    content: Json,
    summary: Json | None,
) -> None:
    """Write the zip file of a model: all of it, or nothing.

    Args:
      path: a file that is not there yet.
      model: what the run has trained.
      reading: how its samples are read.
      answering: what its outputs mean.
      content: that of config.json.
      summary: that of summary.json; None where there is none.

    Raises:
      ValueError: there is such a file, or no folder for it; flatbuffers is not installed.
    """
    file = _new_file(path)
    program = exported(model, content["model"])
    serialized = _serialized(program)
    described = description(program, serialized, reading, answering, content, summary)
    _write(
        file,
        {
            PROGRAM: serialized,
            "model.json": json_text(described, indent=2).encode(),
            "predict.py": Path(__file__).with_name("predict.py").read_bytes(),
            "README.md": _readme(described).encode(),
        },
    )


def _new_file(path: str | os.PathLike[str]) -> Path:
    file = local_path(path)
    _check_new(file)
    if not file.parent.is_dir():
        raise ValueError(
            f"expected a folder to write to, got {file.parent}; make it, or choose another"
        )
    return file


def _check_new(file: Path) -> None:
    if file.exists() or file.is_symlink():
        raise ValueError(f"expected a new file, got {file}, which is there; choose another name")


def _serialized(program: Exported) -> bytes:
    try:
        return bytes(program.serialize())
    except ImportError as error:
        raise ValueError(
            "expected flatbuffers, which writes JAX's export format, got none; "
            "try pip install -e '.[export]'"
        ) from error


def _readme(described: Json) -> str:
    program = described["program"]
    return _README.format(
        jax=program["versions"]["jax"],
        platforms=", ".join(program["platforms"]),
        features=len(described["inputs"]["mean"]),
    )


def _write(file: Path, contents: dict[str, bytes]) -> None:
    temporary = own_temporary(file)
    try:
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, data in contents.items():
                entry = zipfile.ZipInfo(name, _TIME)
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
        _check_new(file)  # still
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)
