"""Fixtures that several files of tests share."""

import pytest

pytest.register_assert_rewrite("command_line")


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    """A folder with tables and models for the command line, which the tests only read."""
    from command_line import make_folder

    folder = tmp_path_factory.mktemp("cli")
    make_folder(folder)
    return folder
