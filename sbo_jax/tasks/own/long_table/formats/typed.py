"""What tables of typed columns have in common: the types of numbers, and what faults say."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from ...._types import DataError


def check_different(place: Path, names: Sequence[str]) -> None:
    """DataError for a name that two columns have."""
    if len(set(names)) < len(names):
        raise DataError(
            f"{place}: expected a different name for every column, got {', '.join(names)}"
        )


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type has numbers."""
    is_real = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return is_real or pa.types.is_decimal(kind) or kind == pa.bool_()


def no_numbers(place: Path, name: str, kind: pa.DataType, advice: str = "") -> DataError:
    """The fault of a column that has none."""
    return DataError(
        f"{place}: expected integers, floats, decimals or booleans in the column {name}, got the "
        f"type {kind}{advice}"
    )


def number_type(kind: pa.DataType, *, has_gaps: bool) -> np.dtype:
    """The type that holds numbers of this one, and NaN where there are gaps."""
    own = np.dtype(np.float64 if pa.types.is_decimal(kind) else kind.to_pandas_dtype())
    return np.result_type(own, np.float32) if has_gaps and own.kind != "f" else own


class Typed:
    """A table whose columns have types of their own, and whose rows are counted."""

    path: Path
    is_text = False

    def place(self, row: int) -> str:
        """The file and the row."""
        return f"{self.path}, row {row} (counted from 0)"

    def no_number(self, row: int, name: str) -> DataError:
        """The fault of a number that is infinite, or too large for float32."""
        return DataError(
            f"{self.place(row)}: expected a finite number in the range of float32 for {name}"
        )

    def no_column(self) -> str:
        """The end of the sentence about a column that is not there."""
        return ""
