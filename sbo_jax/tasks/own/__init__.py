"""A user's own data set: what dataset.toml may say, and readers that refuse what they cannot trust.

Nothing is unpickled, padded or dropped: a fault is told with its file and its line.
"""
