"""Replacing files: anything but a regular file is refused, and mode and owner of an old file stay."""

from __future__ import annotations

import os
import socket
import stat
import sys
import threading

import numpy as np
import pytest

import rgru
from estimator_cases import fitted
from rgru._files.atomic_write import whole_file

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes, pipes and devices of POSIX")


@pytest.fixture(autouse=True)
def _inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def save_layer(path):
    rgru.GRU(1, 2).save(path)


def save_estimator(path):
    fitted(rgru.GRUClassifier).save(path)


def save_sessions(path):
    sessions = rgru.Sessions(rgru.GRU(1, 2))
    sessions.step([1], np.ones((1, 1), np.float32))
    sessions.save(path)


SAVES = pytest.mark.parametrize("save", [save_layer, save_estimator, save_sessions])


def fifo(path):
    os.mkfifo(path)


def device(path):
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


def unix_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # the path of a socket must be short


def folder(path):
    path.mkdir()


@SAVES
@pytest.mark.parametrize(
    ("make", "kind"), [(fifo, "a pipe"), (device, "a device"), (unix_socket, "a socket"), (folder, "a folder")]
)
@pytest.mark.parametrize("linked", [False, True])
def test_anything_but_a_regular_file_is_refused_and_stays(tmp_path, save, make, kind, linked):
    path = tmp_path / "p"
    make(path)
    before = path.lstat()
    target = path
    if linked:
        target = tmp_path / "link"
        target.symlink_to(path)
    with pytest.raises(OSError, match=f"expected a regular file or a new name, got {kind}.*{target.name}"):
        save(target)
    after = path.lstat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert sorted(os.listdir(tmp_path)) == (["link", "p"] if linked else ["p"])  # noqa: PTH208


def test_an_open_pipe_behind_dev_fd_is_refused():
    """Its name resolves to one that does not exist."""
    read, write = os.pipe()
    try:
        with pytest.raises(OSError, match="got a pipe"):
            save_layer(f"/dev/fd/{write}")
    finally:
        os.close(read)
        os.close(write)


def test_a_path_that_becomes_a_pipe_meanwhile_is_refused(tmp_path):
    def write():
        with whole_file(tmp_path / "p") as draft:
            draft.write_text("new")
            os.mkfifo(tmp_path / "p")

    with pytest.raises(OSError, match="got a pipe"):
        write()
    assert os.listdir(tmp_path) == ["p"]  # noqa: PTH208
    assert stat.S_ISFIFO((tmp_path / "p").stat().st_mode)


@SAVES
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755])
def test_the_mode_of_a_file_stays(tmp_path, save, mode):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(mode)
    save(path)
    assert path.read_bytes() != b"old"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_private_file_is_private_while_it_is_written(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o600)
    with whole_file(path) as draft:
        draft.write_text("new")
        assert stat.S_IMODE(draft.stat().st_mode) == 0o600
    assert path.read_text() == "new"


def test_a_file_that_must_not_be_written_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o444)
    if os.geteuid() == 0:  # root may write everything
        monkeypatch.setattr(os, "access", lambda *_arguments, **_options: False)
    with pytest.raises(PermissionError, match="file"):
        save_layer(path)
    assert path.read_text() == "old"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_of_a_file_stays(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    os.chown(path, 12345, 23456)
    path.chmod(0o640)
    save_layer(path)
    state = path.stat()
    assert (state.st_uid, state.st_gid, stat.S_IMODE(state.st_mode)) == (12345, 23456, 0o640)


def test_a_group_that_cannot_be_kept_gets_no_more_rights_than_others(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o660)

    def refuse(*_arguments, **_options):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    save_layer(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_is_written_to_a_pipe(tmp_path):
    """A waiting reader must not be released either."""
    os.mkfifo(tmp_path / "p")
    read = threading.Thread(target=(tmp_path / "p").read_bytes, daemon=True)
    read.start()
    with pytest.raises(OSError, match="got a pipe"):
        save_layer(tmp_path / "p")
    assert read.is_alive()
    (tmp_path / "p").write_text("done")
    read.join(timeout=10)
    assert not read.is_alive()


def test_a_path_below_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "model"
    with pytest.raises(NotADirectoryError) as caught:
        rgru.GRU(1, 2).save(path)
    assert caught.value.filename == str(path)
