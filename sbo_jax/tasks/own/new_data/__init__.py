"""New data for a trained model: in the layout of training, with labels or without."""
