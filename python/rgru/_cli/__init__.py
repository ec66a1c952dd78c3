"""The command line: ``rgru fit | predict | info | demo``."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from contextlib import ExitStack, suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn

import rgru
from rgru._cli.errors import CommandError, HungUp, Terminated, is_bad_input, one_line
from rgru._optional_imports import install

if TYPE_CHECKING:
    from collections.abc import Sequence

_BAD_INPUT, _HUNG_UP, _INTERRUPTED, _BROKEN_PIPE, _TERMINATED = 2, 129, 130, 141, 143


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int
        The exit code: 0, 1 if some files of a folder could not be predicted, 2 on bad input, 129 if the terminal
        was closed, 130 on Ctrl-C, 141 if the reader of the output has closed it, 143 on SIGTERM.
    """
    previous = {number: signal.signal(number, _end) for number in _SIGNALS if _is_ours(number)}
    escapes = _escape_what_stdout_cannot_hold()
    try:
        # Importing the commands takes a while; here a signal during it ends with one line too.
        from rgru._cli.runtime_options import apply_options

        args = _parser().parse_args(argv)
        apply_options(args)
        code: int = args.run(args) or 0
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
        return _BROKEN_PIPE
    except KeyboardInterrupt as stop:
        _discard_stdout()
        return _fail(_described("interrupted", stop), _INTERRUPTED)
    except Terminated as stop:
        _discard_stdout()
        return _fail(_described("terminated", stop), _HUNG_UP if isinstance(stop, HungUp) else _TERMINATED)
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
    r"""Make stdout write \\xe4 for letters that its encoding lacks, as stderr does, until the returned stack is closed.

    Terminals and logs may be limited to ASCII; labels, columns and paths may contain any letter.
    """
    restored = ExitStack()
    if isinstance(sys.stdout, io.TextIOWrapper):
        restored.callback(sys.stdout.reconfigure, errors=sys.stdout.errors)
        sys.stdout.reconfigure(errors="backslashreplace")
    return restored


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all of rgru's; argparse would print the usage too."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; refuse arguments that a command does not know, with those that it knows next to them."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown and self._subparsers is None:
            near = [name for one in unknown for name in get_close_matches(one, self._option_string_actions, 1)]
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        self.exit(_BAD_INPUT, f"rgru: error: {message} (see {self.prog} --help)\n")


def _parser() -> _Parser:
    from rgru._cli import convert, demo, fit, info, predict
    from rgru._cli.completion import SHELLS, PrintCompletion

    parser = _Parser(prog="rgru", description="Gated recurrent units: train, predict, inspect, convert.")
    parser.add_argument("--version", action="version", version=f"rgru {rgru.__version__}")
    parser.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=SHELLS,
        help="print a script that completes commands, options and files at Tab; docs/guides/command-line.md shows how"
        " to install it",
    )
    parser.set_defaults(run=lambda args: parser.print_help())
    commands: Any = parser.add_subparsers(metavar="COMMAND")
    for command in (demo, fit, predict, info, convert):
        command.add_parser(commands)
    return parser


class _Interrupted(KeyboardInterrupt):
    """SIGINT was received.

    If a plain KeyboardInterrupt leaves an `exec`, as used by namedtuple and dataclass, Python records that and finally
    ends by the signal, whatever the exit code.
    """


_SIGNALS: dict[signal.Signals, type[BaseException]] = {signal.SIGINT: _Interrupted, signal.SIGTERM: Terminated}
if hasattr(signal, "SIGHUP"):
    _SIGNALS[signal.SIGHUP] = HungUp


def _is_ours(number: signal.Signals) -> bool:
    """Return whether a signal may be handled here: background jobs ignore SIGINT, and nohup SIGHUP, and must still."""
    return number is signal.SIGTERM or signal.getsignal(number) in {signal.default_int_handler, signal.SIG_DFL}


def _end(number: int, frame: object) -> NoReturn:
    """Raise an exception, so that the cleanup removes drafts of files; ignore further signals.

    These would interrupt the cleanup while it waits for the threads that read and write.
    """
    for each in _SIGNALS:
        if signal.getsignal(each) is _end:
            signal.signal(each, _pass)
    raise _SIGNALS[signal.Signals(number)]


def _pass(number: int, frame: object) -> None:
    """Ignore a signal; unlike SIG_IGN, also one that was received before this handler was set."""


def _discard_stdout() -> None:
    """Redirect stdout to the null device: Python's flush at exit would fail, or wait for a reader forever."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _described(what: str, stop: BaseException) -> str:
    """Return what ended the command, with the message of the command about it, if there is one."""
    return f"{what}: {stop}" if str(stop) else what


def _fail(message: str, code: int) -> int:
    with suppress(OSError):  # stderr may be a terminal that was closed
        print(f"rgru: {message}", file=sys.stderr)
    return code
