"""Sequences and their classes."""

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from .estimator import SBOEstimator


class SBOClassifier(ClassifierMixin, SBOEstimator):
    """An SBO-RNN that reads sequences and says which class each of them has.

    It trains as ``train.py --task folder`` does, with the same defaults, in memory.
    Options that ``train.py --help`` explains have its names:

    - the layer: ``model``, ``hidden``, ``layers``, ``dropout``, ``input_dropout``,
      ``readout_dropout``, ``variational_dropout``;
    - its lower level: ``preset``, ``solver``, ``operator``, ``rank``, ``energy``, ``activation``,
      ``rollout``, ``eta``, ``eta_kind``, ``mu``, ``mu_kind``;
    - training: ``epochs`` or ``updates``, ``batch_size``, ``upper_rate``, ``clip``, ``warmup``,
      ``weight_decay``, ``gradient_noise``, ``jitter``, ``scale``, ``shift``, ``average``,
      ``label_smoothing``, ``patience``, ``select``, ``refit``.

    Args:
      missing: what is done about NaN in X: ``"refuse"``, ``"carry"`` or ``"mask"``.
      validation_fraction: of the samples, of every class alike; they choose the epoch. In (0, 1).
      random_state: an integer makes fits repeatable: it is ``--seed`` and ``--split-seed``.
      verbose: 1 prints a line for every epoch.
      class_weight: ``"balanced"``, or the weight of every class in the loss, as a dict.

    Attributes:
      run_: the `TrainedRun`; ``run_.model`` is the nnx module.
      classes_: [K], sorted.
      n_features_in_: d of [N, T, d]; of a table [N, T], its columns, which are T.
    """

    # scikit-learn reads parameters from the signature, so that all are repeated for the last one.
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
        class_weight: Any = None,
        label_smoothing: Any = None,
    ):
        super().__init__(
            model=model,
            hidden=hidden,
            layers=layers,
            dropout=dropout,
            input_dropout=input_dropout,
            readout_dropout=readout_dropout,
            variational_dropout=variational_dropout,
            preset=preset,
            solver=solver,
            operator=operator,
            rank=rank,
            energy=energy,
            activation=activation,
            rollout=rollout,
            eta=eta,
            eta_kind=eta_kind,
            mu=mu,
            mu_kind=mu_kind,
            epochs=epochs,
            updates=updates,
            batch_size=batch_size,
            upper_rate=upper_rate,
            clip=clip,
            warmup=warmup,
            weight_decay=weight_decay,
            gradient_noise=gradient_noise,
            jitter=jitter,
            scale=scale,
            shift=shift,
            average=average,
            patience=patience,
            select=select,
            refit=refit,
            missing=missing,
            validation_fraction=validation_fraction,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight, self.label_smoothing = class_weight, label_smoothing

    def fit(self, X: Any, y: Any) -> "SBOClassifier":
        """Train anew on sequences and their classes.

        Args:
          X: N sequences: [N, T, d], [N, T] of one feature, or a list of [T_i, d].
          y: the classes [N], at least two of them: text, integers or whatever has an order.

        Raises:
          ValueError: data or parameters that exclude each other, in one sentence.
          Diverged: training did, in its first epoch.
        """
        y = validate_data(self, y=y)
        check_classification_targets(y)
        classes, numbers = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            found = f"one class, {classes.tolist()[0]!r}" if len(classes) else "none"
            raise ValueError(f"expected two classes or more in y, got {found}")
        weights = None
        if isinstance(self.class_weight, dict):
            weights = compute_class_weight(self.class_weight, classes=classes, y=y)
        self._train(X, numbers, classes.tolist(), weights)
        self.classes_ = classes  # those of `run_`, also where another fit fails
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The class of every sequence, [N]."""
        read = self._read(X)
        return np.asarray(self.run_.predict(read)).astype(self.classes_.dtype)

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of every class, [N, K] in the order of `classes_`."""
        read = self._read(X)
        return np.asarray(self.run_.predict_proba(read))
