"""A sequence read by one kernel forward and one backward, in blocks of the batch."""
