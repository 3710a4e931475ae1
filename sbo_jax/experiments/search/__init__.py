"""`benchmark.py search`: options that are best on validation, found by Optuna's sampler."""
