"""Commands one after the other, each within its time, and a table of how they ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_LEAST = 8.0
"""Seconds below which a stage is not begun."""

_ENDING = 10.0
"""Seconds after which a killed process is left alone."""

_MOST_LOGGED = 400_000

_MOST_PRINTED = 600
"""Characters of the output of a stage that failed: its end, with the reason."""


class Runner:
    """Runs stages, writes their output to a log, and collects a row for each.

    Parameters
    ----------
    log : Path
        The log file, which is replaced.
    budget : float
        Seconds for all stages.
    alive : sequence of str
        A command that fails if the GPU does not answer. It runs after a stage that failed.

    Attributes
    ----------
    answers : bool
        False once `alive` has failed.
    failed : set of str
        The stages that failed.
    """

    def __init__(self, log: Path, budget: float, alive: Sequence[str]) -> None:
        self._log, self._end, self._alive = log, time.monotonic() + budget, alive
        self._rows: list[str] = []
        self.answers = True
        self.failed: set[str] = set()
        log.write_text("")

    def run(
        self, name: str, command: Callable[[float], Sequence[str]], seconds: float, telling: str, *, kept: float = 0
    ) -> None:
        """Run a command for at most `seconds`, or what is left of the budget.

        Parameters
        ----------
        name : str
        command : callable
            Returns the command for a limit in seconds.
        seconds : float
        telling : str
            A regular expression; the last line of the output that it matches goes into the table.
        kept : float
            Seconds that are kept for a later stage.
        """
        limit = min(seconds, self._end - kept - time.monotonic())
        if limit < min(_LEAST, seconds):
            self.skip(name, "no time left")
            return
        code, output, took = _limited(command(limit), limit)
        with self._log.open("a") as log:
            log.write(f"\n===== {name}: {_words(code)}, {took:.0f} s of {limit:.0f}\n{output[-_MOST_LOGGED:]}")
        lines = [line for line in output.splitlines() if re.search(telling, line)]
        self._add(f"{name:12} {_words(code):10} {took:4.0f} s  {lines[-1][:300] if lines else ''}")
        if code == 0:
            return
        self.failed.add(name)
        print(output[-_MOST_PRINTED:], flush=True)
        if _limited(self._alive, 25)[0] != 0:
            self.answers = False
            self._add(f"THE GPU DOES NOT ANSWER after {name}")

    def skip(self, name: str, why: str) -> None:
        """Add a row for a stage that is not run."""
        self._add(f"{name:12} not run: {why}")

    def table(self) -> str:
        """Return the rows."""
        return "\n".join(["", *self._rows])

    def _add(self, row: str) -> None:
        self._rows.append(row)
        print(row, flush=True)


def _words(code: int | None) -> str:
    return "timed out" if code is None else f"exit {code}"


def _limited(command: Sequence[str], seconds: float) -> tuple[int | None, str, float]:
    """Run a command in a process group of its own, which is killed as a whole; return None if that was necessary.

    A process may not end at once, while the driver waits for its work. It is then left alone.
    """
    begun, code = time.monotonic(), None
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        except OSError as error:
            return 127, f"{type(error).__name__}: {error}", 0.0  # the shell's status
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(seconds)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also what it has left behind, which would disturb other stages
        with suppress(subprocess.TimeoutExpired):
            process.wait(_ENDING)
        output.seek(0)
        return code, output.read().decode(errors="replace"), time.monotonic() - begun
