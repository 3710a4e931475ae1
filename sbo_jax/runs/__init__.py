"""A named, resumable run on disk, from its configuration to the model it leaves."""

from .build import build_model as build_model
from .config import TrainConfig as TrainConfig
from .config import check as check
from .folder.run_folder import RunFolder as RunFolder
from .preparation import prepare as prepare
from .run import train as train
