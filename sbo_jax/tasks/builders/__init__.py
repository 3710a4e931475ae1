"""TFDS builders of the original data sets: record files for random access, no TensorFlow.

Importing this package is cheap; its modules import TFDS, which takes a second.
"""
