"""PyTorch's recurrent layers under the same training step or stream; where torch is installed."""

from collections.abc import Callable
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


def torch_lstm_step(hidden: int) -> Callable[[np.ndarray], np.ndarray] | None:
    """``torch.nn.LSTMCell`` and a read-out as a step on the CPU, which keeps its state.

    Of float32 [1, 9] to outputs [1, 6]; None where torch is not installed.
    """
    if find_spec("torch") is None:
        return None
    import torch

    cell, readout = torch.nn.LSTMCell(IN_FEATURES, hidden), torch.nn.Linear(hidden, CLASSES)
    state = torch.zeros(1, hidden), torch.zeros(1, hidden)

    def step(x: np.ndarray) -> np.ndarray:
        nonlocal state
        with torch.inference_mode():
            state = cell(torch.from_numpy(x), state)
            return readout(state[0]).numpy()

    return step
