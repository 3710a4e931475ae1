"""What looks on while a run trains: terminal, TensorBoard, profiler, and its gradients."""
