"""aeon's checks of the estimators that `sbo_jax.estimators.aeon` derives from its base classes.

aeon holds NumPy back, so it lives in an environment of its own, beside this package:

    python3 -m venv /tmp/aeon && /tmp/aeon/bin/pip install -e '.[aeon]'
    /tmp/aeon/bin/python tests/aeon_estimators.py
"""

import sys

from aeon.testing.estimator_checking import check_estimator

from sbo_jax.estimators.aeon import SBOClassifier, SBORegressor


def main():
    failed = 0
    for estimator in (SBOClassifier, SBORegressor):
        for check, result in check_estimator(estimator).items():
            failed += isinstance(result, Exception)
            print("ok" if result == "PASSED" else result, check)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
