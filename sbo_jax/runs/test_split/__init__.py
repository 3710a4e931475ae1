"""What a run finds on the test split: the metric, the scores beside it, and their intervals."""
