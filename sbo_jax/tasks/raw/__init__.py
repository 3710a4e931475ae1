"""Readers of the original files: they check content, and know nothing of TFDS or tasks."""
