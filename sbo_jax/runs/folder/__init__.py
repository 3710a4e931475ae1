"""What a run keeps on disk: checkpoints, the model, the history, and what describes them."""
