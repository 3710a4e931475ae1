"""The estimators as aeon has its own: its base classes, its layout [N, d, T], its tags.

Needs aeon (``pip install -e '.[aeon]'``), which `sbo_jax.estimators` does not.
"""

from collections.abc import Callable
from inspect import signature
from typing import Any, TypeVar

import numpy as np
from aeon.classification import BaseClassifier
from aeon.regression import BaseRegressor

from . import classifier, regressor
from .sequences import of_channels

_TAGS = {
    "X_inner_type": ["np-list", "numpy3D"],
    "capability:multivariate": True,
    "capability:unequal_length": True,
}
_TESTED = {"hidden": 4, "updates": 75, "upper_rate": 0.03, "random_state": 0}


_Init = TypeVar("_Init", bound=Callable[..., None])


def _taking(init: Callable[..., None]) -> Callable[[_Init], _Init]:
    """Decorates an ``__init__`` that takes the parameters of another.

    They are read from the signature, which ``**parameters`` alone would not have.
    """

    def decorated(own: _Init) -> _Init:
        own.__signature__ = signature(init)  # type: ignore[attr-defined]
        return own

    return decorated


class SBOClassifier(BaseClassifier):
    """`sbo_jax.estimators.SBOClassifier` for aeon: ``estimator_`` is one, once fitted."""

    _tags = _TAGS

    @_taking(classifier.SBOClassifier.__init__)
    def __init__(self, **parameters: Any):
        super().__init__()
        _set(self, classifier.SBOClassifier(**parameters).get_params())

    def _fit(self, X: Any, y: Any) -> "SBOClassifier":
        own = classifier.SBOClassifier(**self.get_params())
        self.estimator_ = own.fit(of_channels(X), y)
        return self

    def _predict(self, X: Any) -> np.ndarray:
        return self.estimator_.predict(of_channels(X))

    def _predict_proba(self, X: Any) -> np.ndarray:
        return self.estimator_.predict_proba(of_channels(X))

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:
        return dict(_TESTED)


class SBORegressor(BaseRegressor):
    """`sbo_jax.estimators.SBORegressor` for aeon: ``estimator_`` is one, once fitted."""

    _tags = _TAGS

    @_taking(regressor.SBORegressor.__init__)
    def __init__(self, **parameters: Any):
        super().__init__()
        _set(self, regressor.SBORegressor(**parameters).get_params())

    def _fit(self, X: Any, y: Any) -> "SBORegressor":
        own = regressor.SBORegressor(**self.get_params())
        self.estimator_ = own.fit(of_channels(X), y)
        return self

    def _predict(self, X: Any) -> np.ndarray:
        return self.estimator_.predict(of_channels(X))

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:
        return dict(_TESTED)


def _set(estimator: BaseClassifier | BaseRegressor, parameters: dict[str, Any]) -> None:
    """The parameters as attributes, which aeon reads; gaps are read where they are treated."""
    vars(estimator).update(parameters)
    reads_gaps = isinstance(estimator.missing, str) and estimator.missing != "refuse"
    estimator.set_tags(**{"capability:missing_values": reads_gaps})
