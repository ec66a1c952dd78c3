"""Runs the code blocks of the documentation as a reader would: in a process and a folder of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def sections(text: str) -> dict[str, str]:
    """Return the sections of a page by their titles: those with a heading of two signs."""
    return dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))


def blocks(text: str, language: str) -> str:
    """Return the fenced blocks of one language, one after the other."""
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def run_python(text: str, folder: Path, *options: str) -> None:
    """Run the Python blocks of a page or section as one doctest."""
    examples = blocks(text, "python")
    assert ">>>" in examples
    (folder / "examples.txt").write_text(examples, "utf-8")
    _run([sys.executable, *options, "-m", "doctest", "examples.txt"], folder)


def run_shell(text: str, folder: Path) -> None:
    """Run the shell blocks of a page as one script, with this Python's rgru."""
    (folder / "script.sh").write_text('rgru() { "$PYTHON" -m rgru "$@"; }\n' + blocks(text, "sh"), "utf-8")
    _run(["bash", "-euo", "pipefail", "script.sh"], folder)


def _run(command: list[str], folder: Path) -> None:
    run = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
