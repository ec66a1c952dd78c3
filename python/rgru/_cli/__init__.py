"""The command line: ``rgru fit | predict | info | demo``."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NoReturn

import rgru
from rgru._cli.errors import CommandError, Terminated, is_bad_input, one_line
from rgru._optional_imports import install

if TYPE_CHECKING:
    from collections.abc import Sequence

_BAD_INPUT, _INTERRUPTED, _BROKEN_PIPE, _TERMINATED = 2, 130, 141, 143


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int
        The exit code: 0, 1 if some files of a folder could not be predicted, 2 on bad input, 130 on Ctrl-C, 141 if
        nobody reads the output any more, 143 on SIGTERM.
    """
    previous = {number: signal.signal(number, _end) for number in _SIGNALS if _is_ours(number)}
    escapes = _escape_what_stdout_cannot_hold()
    try:
        # The commands are loaded here, which takes a while, so that signals end that in a line as well.
        from rgru._cli.runtime_options import apply_options

        args = _parser().parse_args(argv)
        apply_options(args)
        code: int = args.run(args) or 0
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _give_stdout_up()
        return _BROKEN_PIPE
    except KeyboardInterrupt as stop:
        _give_stdout_up()
        return _fail(_told("interrupted", stop), _INTERRUPTED)
    except Terminated as stop:
        _give_stdout_up()
        return _fail(_told("terminated", stop), _TERMINATED)
    except ModuleNotFoundError as error:
        return _fail(f"error: this needs {error.name}: {install('cli')}", _BAD_INPUT)
    except Exception as error:
        if not isinstance(error, CommandError) and not is_bad_input(error):
            raise
        return _fail(f"error: {one_line(error)}", _BAD_INPUT)
    finally:
        escapes.close()
        for number, handler in previous.items():
            signal.signal(number, handler)
    return code


def _escape_what_stdout_cannot_hold() -> ExitStack:
    r"""Let stdout write \\xe4 where its encoding has no such letter, as stderr does; closing what this returns ends it.

    Terminals and logs may hold ASCII alone, and labels, columns and paths any letter.
    """
    restored = ExitStack()
    if isinstance(sys.stdout, io.TextIOWrapper):
        restored.callback(sys.stdout.reconfigure, errors=sys.stdout.errors)
        sys.stdout.reconfigure(errors="backslashreplace")
    return restored


class _Parser(argparse.ArgumentParser):
    """Ends in one line, as all errors of rgru do; argparse prints the usage, too."""

    def error(self, message: str) -> NoReturn:
        self.exit(_BAD_INPUT, f"rgru: error: {message} (see {self.prog} --help)\n")


def _parser() -> _Parser:
    from rgru._cli import demo, fit, info, predict
    from rgru._cli.completion import SHELLS, PrintCompletion

    parser = _Parser(prog="rgru", description="Gated recurrent units: train, predict, look.")
    parser.add_argument("--version", action="version", version=f"rgru {rgru.__version__}")
    parser.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=SHELLS,
        help="print the script that completes commands, options and files at Tab; how to install it is in the README",
    )
    parser.set_defaults(run=lambda args: parser.print_help())
    commands: Any = parser.add_subparsers(metavar="COMMAND")
    for command in (demo, fit, predict, info):
        command.add_parser(commands)
    return parser


class _Interrupted(KeyboardInterrupt):
    """SIGINT came.

    Where a KeyboardInterrupt itself leaves an `exec`, as namedtuple and dataclass have one, Python remembers that, and
    ends by the signal in the end, whatever the exit code.
    """


_SIGNALS = {signal.SIGINT: _Interrupted, signal.SIGTERM: Terminated}


def _is_ours(number: signal.Signals) -> bool:
    """Tell whether nobody else decides on what a signal does: a shell's background jobs ignore SIGINT."""
    return number is signal.SIGTERM or signal.getsignal(number) is signal.default_int_handler


def _end(number: int, frame: object) -> NoReturn:
    """End by an exception, so that drafts of files are removed on the way; further signals find that under way.

    They would come where that waits for the threads that read and write.
    """
    for each in _SIGNALS:
        if signal.getsignal(each) is _end:
            signal.signal(each, _pass)
    raise _SIGNALS[signal.Signals(number)]


def _pass(number: int, frame: object) -> None:
    """Unlike SIG_IGN it is called, in silence, for a signal that has come already."""


def _give_stdout_up() -> None:
    """Python flushes stdout once more at exit: it would complain, or wait for a reader that may never come."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(what: str, stop: BaseException) -> str:
    """Say what ended the command, and what came of it where the command has told that."""
    return f"{what}: {stop}" if str(stop) else what


def _fail(message: str, code: int) -> int:
    print(f"rgru: {message}", file=sys.stderr)
    return code
