"""A user's own data set: the format of dataset.toml, and strict readers.

Readers unpickle, pad and drop nothing; an error names the file and the line.
"""
