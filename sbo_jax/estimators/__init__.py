"""SBO-RNNs as estimators of scikit-learn: ``fit``, ``predict``, ``score``, and their like.

Imported only when asked for. `sbo_jax.estimators.aeon` has the same for aeon.
"""

from .classifier import SBOClassifier as SBOClassifier
from .regressor import SBORegressor as SBORegressor
