"""The command `rankwell`, composed of the sub-commands that each package owns."""

import sys
from typing import Any

import typer
from typer.core import TyperGroup

import rankwell.embeddings.commands
import rankwell.indexer.adding
import rankwell.indexer.commands
import rankwell.indexer.transfer_commands
import rankwell.ranker.commands
import rankwell.ranker.comparing
import rankwell.serving.commands
from rankwell import __version__
from rankwell.data.errors import RankwellError, Unavailable
from rankwell.data.terminal import err
from rankwell.demo import demo
from rankwell.ranker.gate import release_gate

INTERRUPTED = 130


class _Commands(TyperGroup):
    """Turns errors of the caller into one sentence and their exit code, for every command."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except RankwellError as error:
            sentence = " ".join(f"rankwell: {error}".splitlines())
            err.print(sentence, style="red", markup=False, soft_wrap=True)
            sys.exit(error.exit_code)
        except OSError as error:  # a full disk, a folder that cannot be written to
            where = f" ({error.filename})" if error.filename else ""
            what = error.strerror or str(error)
            err.print(
                f"rankwell: {what}{where}; rankwell status says what is live",
                style="red",
                markup=False,
                soft_wrap=True,
            )
            sys.exit(Unavailable.exit_code)
        except KeyboardInterrupt:
            err.print("rankwell: interrupted; a version is live whole or not at all, run it again")
            sys.exit(INTERRUPTED)


app = typer.Typer(
    cls=_Commands,
    help="A search engine with neural ranking that trains on your own documents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
rankwell.indexer.commands.register(app, release_gate)
rankwell.indexer.adding.register(app)
rankwell.indexer.transfer_commands.register(app)
rankwell.ranker.commands.register(app)
rankwell.ranker.comparing.register(app)
rankwell.serving.commands.register(app)
rankwell.embeddings.commands.register(app)
app.command()(demo)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rankwell {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False,
        "--version",
        callback=_print_version,
        is_eager=True,
        help="Print the version and exit.",
    ),
) -> None:
    """A search engine with neural ranking that trains on your own documents."""
