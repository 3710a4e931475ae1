"""Data sets with one CSV file per sequence."""
