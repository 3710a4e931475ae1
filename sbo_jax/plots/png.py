"""A figure as the bytes of a file."""

import io
import warnings

from matplotlib.figure import Figure


def png(figure: Figure, dpi: int = 120) -> bytes:
    """The picture as a PNG file holds it, so that a caller can write it in one piece.

    Letters that the font lacks, as in names in Chinese, become boxes, without a warning for each.
    """
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(file, dpi=dpi, format="png")
    return file.getvalue()
