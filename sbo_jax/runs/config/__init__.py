"""The configuration of a run: options by flat names, in one part for each room."""

from .options import Options as Options
from .train import TrainConfig as TrainConfig
from .train import check as check
