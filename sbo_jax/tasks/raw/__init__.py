"""Readers of the original files: they check content, and know nothing of TFDS or tasks.

Each module has the URLS of its files by name, `find` for their places in a folder, and `read` for
the columns of every split.
"""
