"""Fixtures that several files of tests share."""

import signal

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
