"""A plugin that repeats every test with random draws: ``pytest -p repeats --repeat 12``.

A law that holds in 97 of 100 draws passes most runs of the suite and stops the next one. Tests that
count compilations, or what a first call does, fail when they are repeated.
"""

import time

import pytest

_SECONDS = pytest.StashKey()


def pytest_addoption(parser):
    parser.addoption("--repeat", type=int, default=12, help="runs of every test with rng")
    text = "seconds of a test after which it is not run again"
    parser.addoption("--repeat-seconds", type=float, default=2.0, help=text)


def pytest_generate_tests(metafunc):
    if "rng" in metafunc.fixturenames:
        metafunc.fixturenames.append("repetition")
        count = metafunc.config.getoption("--repeat")
        metafunc.parametrize("repetition", range(count), ids="repetition-{}".format)


def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if "rng" in item.fixturenames]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    seconds = item.config.stash.setdefault(_SECONDS, {})
    test = item.nodeid.replace(f"repetition-{item.callspec.params['repetition']}", "")
    if seconds.get(test, 0.0) > item.config.getoption("--repeat-seconds"):
        pytest.skip("has had its time")
    start = time.perf_counter()
    try:
        return (yield)
    finally:
        seconds[test] = seconds.get(test, 0.0) + time.perf_counter() - start
