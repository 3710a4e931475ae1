"""A user's own data set: the format of dataset.toml, and strict readers.

Nothing is unpickled, padded or dropped; an error names the file and the line.
"""
