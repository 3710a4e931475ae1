"""scikit-learn's own checks of estimators; docs/estimators.md says why each skipped one is."""

import re

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from sbo_jax.estimators import SBOClassifier, SBORegressor

pytestmark = pytest.mark.slow

# The checks ask little of the model, and fit a hundred times: this one compiles fastest.
QUICK = {"model": "rnn", "hidden": 4, "updates": 75, "upper_rate": 0.03, "random_state": 0}
# Where a check asks for an R2 of more than 0.5.
GOOD = {"hidden": 16, "updates": 300}
SKIPPED = {
    "check_methods_subset_invariance": "a batch of another size is rounded in another way, and "
    "float32 differs in the seventh digit where 1e-7 is asked",
}


# What differs between the two classes; the rest is one code, and the suite short of time.
OF_REGRESSORS = "regressor|supervised|score_takes_y|pickle|fit_idempotent|tags|mixin|unfitted"


@parametrize_with_checks([SBOClassifier(**QUICK), SBORegressor(**QUICK)])
def test_estimators_pass_the_checks_of_scikit_learn(estimator, check, request):
    name = check.func.__name__
    if reason := SKIPPED.get(name):
        pytest.skip(reason)
    is_shared = isinstance(estimator, SBORegressor) and not re.search(OF_REGRESSORS, name)
    if is_shared and not request.config.getoption("every_check"):
        pytest.skip("run on SBOClassifier; --every-check runs it on SBORegressor as well")
    check(estimator.set_params(**GOOD) if name == "check_regressors_train" else estimator)
