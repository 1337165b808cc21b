"""The commands together, and how they end: exit codes, errors, interruptions, closed pipes."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import typer

from cofactor.cli import choosing_commands, data_commands, model_commands, serve_commands
from cofactor.cli.output import error_object, note

# Help is plain text: it starts at once, and reads the same on a terminal, in a pipe and in a log.
app = typer.Typer(
    name="cofactor",
    help="From a table of ratings to predictions and recommendations, by matrix factorization.",
    epilog="Start with:  cofactor demo",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
)
for command in (
    data_commands.demo,
    data_commands.check,
    data_commands.prepare,
    data_commands.train,
    *choosing_commands.COMMANDS,
    *model_commands.COMMANDS,
    serve_commands.serve,
):
    app.command()(command)
app.add_typer(serve_commands.keys, name="keys")
app.command()(data_commands.verify)
app.command()(data_commands.doctor)


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and leave."),
) -> None:
    if version:
        from cofactor import __version__

        typer.echo(f"cofactor {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code. Errors are one paragraph on stderr, never a traceback.

    ``COFACTOR_DEBUG=1`` lets errors through, with their traceback.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a title must not fail on a terminal that cannot show it
            stream.reconfigure(errors="replace")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _show_warning
        try:
            _invoke(arguments)
            sys.stdout.flush()
            return 0
        except typer.Exit as done:
            return int(done.exit_code)
        except (KeyboardInterrupt, typer.Abort):
            print("Interrupted.", file=sys.stderr)
            return 130
        except BrokenPipeError:
            # Whoever read our output has enough. Nothing more can be written there, not even at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return 141
        except Exception as error:
            if os.environ.get("COFACTOR_DEBUG") == "1":
                raise
            code, kind, message = _describe(error)
            if "--json" in arguments:
                print(error_object(kind, message))
            print(f"Error: {message}", file=sys.stderr)
            return code


def _invoke(arguments: list[str]) -> None:
    command = typer.main.get_command(app)
    with command.make_context("cofactor", arguments) as context:
        command.invoke(context)


def _describe(error: Exception) -> tuple[int, str, str]:
    """Exit code, kind and one paragraph for an error."""
    from cofactor.errors import CofactorError

    kind = type(error).__name__
    if isinstance(error, CofactorError):
        return error.exit_code, kind, str(error)
    if hasattr(error, "format_message"):  # the parser's own errors
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "cofactor"
        return 2, "WrongUsage", f"{error.format_message().rstrip('.')}. See: {where} --help"
    if isinstance(error, OSError):
        place = f" ({error.filename})" if error.filename else ""
        return 1, kind, f"The system says: {error.strerror or error}{place}."
    if isinstance(error, MemoryError):
        return 1, kind, "There is not enough memory for this. Try a lower rank, or fewer ratings at a time."
    return (
        1,
        kind,
        f"{error} ({kind}). This should not happen: please report it, with what COFACTOR_DEBUG=1 prints.",
    )


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    note(str(message))
