"""Flax NNX: cells, layers and heads around the rollouts."""

from .cell import LowerHyper as LowerHyper
from .cell import SBOCell as SBOCell
from .cell import TrainedLowerHyper as TrainedLowerHyper
from .gradient_flow import cell_gradient_flow as cell_gradient_flow
from .gradient_flow import cell_step as cell_step
from .gradient_flow import layer_gradient_flow as layer_gradient_flow
from .heads import SequenceClassifier as SequenceClassifier
from .heads import SequenceForecaster as SequenceForecaster
from .heads import SequenceRegressor as SequenceRegressor
from .heads import SequenceTagger as SequenceTagger
from .language_model import SequenceLanguageModel as SequenceLanguageModel
from .layer import SBORNN as SBORNN
from .lower_report import LowerReport as LowerReport
from .recall import RecallRNN as RecallRNN
from .single_step import SingleStep as SingleStep
