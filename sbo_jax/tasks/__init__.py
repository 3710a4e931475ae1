"""Data: tasks by name, random-access sources, and two ways to draw batches.

>>> from sbo_jax import tasks
>>> task = tasks.load("adding", length=50)
>>> batch = next(tasks.training_batches(task.train, 64, seed=0))
>>> batch.inputs.shape, batch.targets.shape
((64, 50, 2), (64, 1))
"""

from ._types import Batch as Batch
from ._types import DataError as DataError
from ._types import Recipe as Recipe
from ._types import Source as Source
from ._types import Task as Task
from .loader import evaluation_batches as evaluation_batches
from .loader import training_batches as training_batches
from .registry import NAMES as NAMES
from .registry import TaskName as TaskName
from .registry import check_request as check_request
from .registry import load as load
from .registry import outline as outline
