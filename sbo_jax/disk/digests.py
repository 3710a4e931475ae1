"""SHA-256 of large files, whose pieces are hashed on all cores at once."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_PIECE, _BUFFER = 2**26, 2**20


def digests(paths: Sequence[Path]) -> list[str]:
    """Of every file, the SHA-256 of those of its pieces of 64 MB, in hexadecimal."""
    starts = [range(0, path.stat().st_size, _PIECE) for path in paths]
    pieces = [(path, start) for path, own in zip(paths, starts, strict=True) for start in own]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(_of_piece, pieces)
        return [hashlib.sha256(b"".join(next(found) for _ in own)).hexdigest() for own in starts]


def _of_piece(piece: tuple[Path, int]) -> bytes:
    path, start = piece
    digest, buffer, left = hashlib.sha256(), memoryview(bytearray(_BUFFER)), _PIECE
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while left and (count := file.readinto(buffer[:left])):
            digest.update(buffer[:count])
            left -= count
    return digest.digest()
