"""PyTorch's recurrent layers under the same training step; only where torch is installed."""

from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from .contenders import CLASSES, IN_FEATURES, Build, Contender, Shape, draw_batch

LAYERS = ("RNN", "GRU", "LSTM")


def torch_contenders() -> dict[str, Build]:
    """``torch.nn.RNN``, ``GRU`` and ``LSTM``: cuDNN's kernels where torch sees a GPU."""
    if find_spec("torch") is None:
        return {}
    return {f"torch {layer}": partial(_layer, layer) for layer in LAYERS}


def _layer(layer: str, shape: Shape) -> Contender:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    rnn = getattr(torch.nn, layer)(IN_FEATURES, shape.D, batch_first=True).to(device)
    readout = torch.nn.Linear(shape.D, CLASSES).to(device)
    parameters = [*rnn.parameters(), *readout.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    batch = draw_batch(shape)
    inputs = torch.as_tensor(np.asarray(batch.inputs), device=device)
    targets = torch.as_tensor(np.asarray(batch.targets), device=device)

    def predict() -> Any:
        return readout(rnn(inputs)[0][:, -1])

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def train() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(predict(), targets).backward()
        optimizer.step()
        wait()

    def infer() -> None:
        with torch.no_grad():
            predict()
        wait()

    return Contender(train, infer, sum(p.numel() for p in parameters))
