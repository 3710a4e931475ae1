"""Sequences and numbers that belong to them."""

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import validate_data

from .estimator import SBOEstimator


class SBORegressor(RegressorMixin, SBOEstimator):
    """An SBO-RNN that reads sequences and predicts a number, or several, for each of them.

    Parameters and attributes are those of `SBOClassifier`, without `class_weight`,
    `label_smoothing` and `classes_`.
    """

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> "SBORegressor":
        """Train anew on sequences and their numbers.

        Args:
          X: N sequences: [N, T, d], [N, T] of one feature, or a list of [T_i, d].
          y: numbers [N] or [N, k] in any unit: training scales them.

        Raises:
          ValueError: data or parameters that exclude each other, in one sentence.
          Diverged: training did, in its first epoch.
        """
        y = validate_data(self, y=y, multi_output=True, y_numeric=True)
        numbers = np.asarray(y, np.float64)
        self._train(X, numbers.reshape(len(numbers), -1), None)
        self._target_shape = numbers.shape[1:]
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The numbers of every sequence, [N] or [N, k] as `fit` had them."""
        read = self._read(X)
        return np.asarray(self.run_.predict(read)).reshape(len(read), *self._target_shape)
