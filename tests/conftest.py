"""Fixtures that several files of tests share."""

import gc
import signal
import warnings
from collections import Counter

import pytest

pytest.register_assert_rewrite("command_line")


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    """A folder with tables and models for the command line, which the tests only read."""
    from command_line import make_folder

    folder = tmp_path_factory.mktemp("cli")
    make_folder(folder)
    return folder


@pytest.fixture
def ctrl_c():
    """Let SIGINT interrupt this process and those that it starts, even where the tests run with it ignored.

    A shell's background jobs ignore it, and so would their children: an ignored signal stays so across `exec`, a
    handled one does not.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def cupy():
    """CuPy, where it can use a GPU."""
    from rgru._cuda.availability import find_cupy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return find_cupy(0)
        except (ImportError, RuntimeError) as error:
            pytest.skip(str(error))


def pytest_collection_finish():
    """Leave the thousands of collected tests, which live to the end, out of all collections of garbage to come."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter):
    """Tests that were skipped, counted by reason: a line for each, however many tests share it."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ").splitlines()[0]
        for report in terminalreporter.getreports("skipped")
    )
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}")
