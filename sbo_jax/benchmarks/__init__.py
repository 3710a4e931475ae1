"""Side-by-side measurements: everything that is compared runs in one process, interleaved."""
