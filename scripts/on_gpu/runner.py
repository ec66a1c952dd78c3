"""Commands one after the other, each within its time, and a table of how they ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_LEAST = 8.0
"""Seconds below which a stage is not begun."""

_MOST_LOGGED = 400_000


class Runner:
    """Runs stages, writes their output to a log, and collects a row for each.

    Parameters
    ----------
    log : Path
        The log file, which is replaced.
    budget : float
        Seconds for all stages.
    alive : sequence of str
        A command that fails if the GPU does not answer. It runs after a stage that was ended by force.

    Attributes
    ----------
    answers : bool
        False once `alive` has failed.
    failed : bool
        Whether a stage failed.
    """

    def __init__(self, log: Path, budget: float, alive: Sequence[str]) -> None:
        self._log, self._end, self._alive = log, time.monotonic() + budget, alive
        self._rows: list[str] = []
        self.answers, self.failed = True, False
        log.write_text("")

    def run(self, name: str, command: Sequence[str], seconds: float, telling: str) -> None:
        """Run a command for at most `seconds`, or what is left of the budget.

        Parameters
        ----------
        name : str
        command : sequence of str
        seconds : float
        telling : str
            A regular expression; the last line of the output that it matches goes into the table.
        """
        limit = min(seconds, self._end - time.monotonic())
        if limit < min(_LEAST, seconds):
            self.skip(name, "no time left")
            return
        code, output, took = _limited(command, limit)
        self.failed |= code != 0
        with self._log.open("a") as log:
            log.write(f"\n===== {name}: {_words(code)}, {took:.0f} s of {limit:.0f}\n{output[-_MOST_LOGGED:]}")
        lines = [line for line in output.splitlines() if re.search(telling, line)]
        self._add(f"{name:12} {_words(code):10} {took:4.0f} s  {lines[-1][:150] if lines else ''}")
        if code is None and _limited(self._alive, 25)[0] != 0:
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
    """Run a command in a process group of its own, which is killed as a whole; return None if it was."""
    begun = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=seconds)
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        code = None
    return code, output, time.monotonic() - begun
