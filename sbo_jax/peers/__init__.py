"""Other recurrent networks, as their papers state them: drop-in for `nnx.RNN`.

Flax has the vanilla RNN, the LSTM and the GRU: `nnx.SimpleCell`, `nnx.OptimizedLSTMCell`,
`nnx.GRUCell`.
"""

from .antisymmetric import AntisymmetricCell as AntisymmetricCell
from .antisymmetric import GatedAntisymmetricCell as GatedAntisymmetricCell
from .fast import FastGRNNCell as FastGRNNCell
from .fast import FastRNNCell as FastRNNCell
from .gru import TorchGRUCell as TorchGRUCell
from .incremental import IncrementalCell as IncrementalCell
from .independent import IndependentCell as IndependentCell
from .lem import LEMCell as LEMCell
from .lipschitz import LipschitzCell as LipschitzCell
from .momentum import MomentumCell as MomentumCell
from .momentum import MomentumLSTMCell as MomentumLSTMCell
from .oscillators import CoupledOscillatoryCell as CoupledOscillatoryCell
from .oscillators import UndampedOscillatoryCell as UndampedOscillatoryCell
from .sharnn import ShaRNN as ShaRNN
from .torch_weights import from_torch as from_torch
