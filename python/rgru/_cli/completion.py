"""Tab completion: a script for the user's shell, made by shtab."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from rgru._optional_imports import needed

SHELLS = ("bash", "zsh", "tcsh", "fish", "powershell")
"""Those that shtab makes scripts for."""

_FILES, _FOLDERS = {"MODEL", "DATA", "OUT", "PICTURE", "FILE"}, {"DIR"}
"""How arguments are shown that are paths."""


class PrintCompletion(argparse.Action):
    """Prints the script for a shell, and ends.

    A script, since to ask rgru itself at each Tab would take as long as Python takes to load it.
    """

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: Any = None
    ) -> NoReturn:
        """Print and end, as argparse calls it."""
        shtab = needed("shtab", "cli")
        for each in _parsers(parser):
            for action in each._actions:
                if action.metavar in _FILES | _FOLDERS:
                    action.complete = shtab.FILE if action.metavar in _FILES else shtab.DIRECTORY  # type: ignore[attr-defined]
        print(shtab.complete(parser, values))
        parser.exit()


def _parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Return a parser and those of its commands."""
    commands = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [parser, *(each for action in commands for each in action.choices.values())]
