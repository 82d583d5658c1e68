"""slmctl completion"""

from __future__ import annotations

import click

from registry.errors import UsageError
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.shells import SCRIPTS, candidates

_ABOUT = """Print the script that lets SHELL (bash, zsh or fish) complete commands, options and models' names.

Put the line for yours at the end of the file, and start a new shell:

\b
  ~/.bashrc                   eval "$(slmctl completion bash)"
  ~/.zshrc                    eval "$(slmctl completion zsh)"
  ~/.config/fish/config.fish  slmctl completion fish | source"""


@make_command("completion", about=_ABOUT)
@click.argument("shell", required=False, type=click.Choice(list(SCRIPTS)), metavar="SHELL")
@click.option("--complete", "line", hidden=True, help="A command up to the cursor: print how it may go on.")
@click.option("--word", hidden=True, help="What of it bash replaces.")
def command(context: Context, shell: str | None, line: str | None, word: str | None) -> None:
    if shell is None:  # not guessed from SHELL: that is the login shell, whichever one asks
        raise UsageError(
            f"Which shell? It is one of {', '.join(SCRIPTS)}.", hint="For example: slmctl completion bash"
        )
    if line is not None:
        root = click.get_current_context().find_root().command
        if found := candidates(root, line, word):
            click.echo(found)
        return
    context.output.result({"shell": shell, "script": SCRIPTS[shell]}, lambda: SCRIPTS[shell].rstrip("\n"))
