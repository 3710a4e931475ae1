"""What both estimators have in common: their parameters, and how they read X."""

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import (
    Tags,
    check_array,
    check_consistent_length,
    check_random_state,
)
from sklearn.utils.validation import check_is_fitted, validate_data

from ..tasks.own.in_memory import check_no_mask, task_of
from ..tasks.sources.ragged import Ragged
from ..trained import TrainedRun
from .learning import learned
from .sequences import check_finite, check_missing, is_table, of_many, of_table

_SEEDS = 2**31


class SBOEstimator(BaseEstimator):
    """An SBO-RNN, or a peer, that reads sequences; see its two kinds for the parameters."""

    run_: TrainedRun
    _of_features: bool

    # Values are checked by `fit`, and not here: scikit-learn sets them at will.
    def __init__(
        self,
        *,
        model: Any = "sbo",
        hidden: Any = None,
        layers: Any = 1,
        dropout: Any = 0.0,
        input_dropout: Any = 0.0,
        readout_dropout: Any = 0.0,
        variational_dropout: Any = 0.0,
        preset: Any = "stable",
        solver: Any = None,
        operator: Any = None,
        rank: Any = None,
        energy: Any = "residual",
        activation: Any = None,
        rollout: Any = "unrolled",
        eta: Any = None,
        eta_kind: Any = "fixed",
        mu: Any = None,
        mu_kind: Any = "fixed",
        epochs: Any = None,
        updates: Any = None,
        batch_size: Any = None,
        upper_rate: Any = None,
        clip: Any = 1.0,
        warmup: Any = 0.0,
        weight_decay: Any = 0.0,
        gradient_noise: Any = 0.0,
        jitter: Any = 0.0,
        scale: Any = 0.0,
        shift: Any = 0.0,
        average: Any = None,
        patience: Any = None,
        select: Any = None,
        refit: Any = False,
        missing: Any = "refuse",
        validation_fraction: Any = 0.2,
        random_state: Any = None,
        verbose: Any = 0,
    ):
        self.model, self.hidden, self.layers, self.dropout = model, hidden, layers, dropout
        self.input_dropout, self.readout_dropout = input_dropout, readout_dropout
        self.variational_dropout = variational_dropout
        self.preset, self.solver, self.operator, self.rank = preset, solver, operator, rank
        self.energy, self.activation, self.rollout = energy, activation, rollout
        self.eta, self.eta_kind, self.mu, self.mu_kind = eta, eta_kind, mu, mu_kind
        self.epochs, self.updates, self.batch_size = epochs, updates, batch_size
        self.upper_rate, self.clip, self.warmup = upper_rate, clip, warmup
        self.weight_decay, self.gradient_noise, self.average = weight_decay, gradient_noise, average
        self.jitter, self.scale, self.shift = jitter, scale, shift
        self.patience, self.select, self.refit = patience, select, refit
        self.missing, self.validation_fraction = missing, validation_fraction
        self.random_state, self.verbose = random_state, verbose

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = isinstance(self.missing, str) and self.missing != "refuse"
        return tags

    def _train(
        self,
        X: Any,
        targets: np.ndarray,
        classes: list[Any] | None,
        class_weights: np.ndarray | None = None,
    ) -> None:
        """Set `run_`, from sequences and their targets as `task_of` takes them."""
        check_missing(self.missing)
        inputs = self._sequences(X, reset=True)
        check_consistent_length(inputs, targets)
        seed = self._seed()
        task = task_of(
            inputs,
            targets,
            classes,
            validation=self._validation(),
            gaps=self.missing,
            seed=seed,
        )
        parameters = self.get_params(deep=False)
        if class_weights is not None:
            parameters["class_weight"] = None
        self.run_ = learned(
            parameters,
            task,
            seed=seed,
            verbose=bool(self.verbose),
            class_weights=class_weights,
        )

    def _read(self, X: Any) -> Ragged:
        """The sequences of X, for a fitted estimator."""
        check_is_fitted(self, "run_")
        return self._sequences(X, reset=False)

    def _sequences(self, X: Any, *, reset: bool) -> Ragged:
        """Sequences of finite numbers; `reset` remembers how many features they have."""
        check_no_mask(X)
        of_features = not is_table(X)
        if of_features:
            read = of_many(X)
            if reset:
                self.n_features_in_ = read.values.shape[1]
        elif reset or not self._of_features:
            read = of_table(validate_data(self, X, reset=reset, ensure_all_finite=False))
        else:
            X = check_array(X, ensure_all_finite=False, estimator=self)
            read = of_table(X) if self.n_features_in_ == 1 else of_many(X)
        check_finite(read, self.missing)
        if reset:
            self._of_features = of_features
        return read

    def _validation(self) -> float:
        fraction: Any = self.validation_fraction
        if not isinstance(fraction, Real) or not 0 < float(fraction) < 1:
            raise ValueError(f"expected 0 < validation_fraction < 1, got {fraction!r}; try 0.2")
        return float(fraction)

    def _seed(self) -> int:
        """An integer as it is, so that it means what ``train.py --seed`` means."""
        state: Any = self.random_state
        if isinstance(state, Integral) and 0 <= int(state) < _SEEDS:
            return int(state)
        return int(check_random_state(state).randint(_SEEDS))
