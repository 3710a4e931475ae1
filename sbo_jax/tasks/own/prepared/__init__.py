"""Copies of large tables, from which later starts read the arrays as they are in memory."""
