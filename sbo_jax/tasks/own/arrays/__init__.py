"""Data sets in NumPy files."""
