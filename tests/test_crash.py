"""What is killed at any change of files loses nothing; `python tests/crash.py 0` tries all."""

import shutil
import sys

import crash_copies
import pytest
from crash import start

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux" or not shutil.which("cc"), reason="needs Linux and cc"
    ),
]


def test_a_save_that_is_killed_anywhere_loses_no_model_and_no_line():
    found = start(8)
    assert found["points"] > 200
    assert found["tried"] == 8
    assert found["faults"] == [], found["printed"]


def test_a_copy_of_a_table_that_is_killed_anywhere_is_not_believed_and_leaves_nothing():
    found = start(4, crash_copies.__file__)
    assert found["points"] > 20
    assert found["tried"] == 4
    assert found["faults"] == [], found["printed"]
