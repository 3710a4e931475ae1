"""A save killed at any change of files loses nothing; `python tests/crash.py 0` tries all."""

import shutil
import sys

import pytest
from crash import start


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="needs Linux and cc")
def test_a_save_that_is_killed_anywhere_loses_no_model_and_no_line():
    found = start(8)
    assert found["points"] > 200
    assert found["tried"] == 8
    assert found["faults"] == [], found["printed"]
