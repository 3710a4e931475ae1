"""What a run has learned, as a product: data go in as users have them, answers come out."""

from .loading import load as load
from .stream import Stream as Stream
from .trained_run import Answers as Answers
from .trained_run import TrainedRun as TrainedRun
