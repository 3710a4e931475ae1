"""Downloads that fail at once, in one sentence."""

from collections.abc import Mapping
from pathlib import Path

import requests
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

from .._types import DataError

_SECONDS_TO_ANSWER = 10


def fetch(dl_manager: tfds.download.DownloadManager, urls: Mapping[str, str]) -> dict[str, Path]:
    """Local paths of the downloads of `urls`, under the same keys, their checksums verified.

    TFDS alone would repeat a failing request for minutes, so this asks one server first.
    """
    first = next(iter(urls.values()))
    try:
        with requests.get(first, stream=True, timeout=_SECONDS_TO_ANSWER) as answer:
            answer.raise_for_status()
        return {name: Path(path) for name, path in dl_manager.download(dict(urls)).items()}
    except NonMatchingChecksumError as fault:
        raise DataError(_sentence("of the registered checksum", first, "other content")) from fault
    except (OSError, tfds.download.DownloadError) as fault:
        raise DataError(_sentence("to answer", first, type(fault).__name__)) from fault


def _sentence(expected: str, url: str, found: str) -> str:
    return (
        f"expected the download {url} {expected}, got {found}; try again later, or fetch the "
        "files elsewhere and name their folder with raw_dir (--raw-dir)"
    )
