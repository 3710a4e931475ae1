"""Samples by index: arrays, sequences of unequal lengths, streams; scaled, paired and joined."""
