"""Completion in bash, zsh and fish: click finds the candidates, the scripts here bring them to the shell.

A script calls `slmctl completion SHELL --complete LINE`, LINE being the command up to the cursor, and gets a
line `type TAB value TAB help` for each candidate; for "file" the shell completes the name of a file itself.
The values are whole words, whatever the shell thinks a word is. bash cuts words at colons and equals signs
too and replaces what stands behind the last one: it says in --word what that is.
"""

from __future__ import annotations

from pathlib import PurePath

import click
from click.shell_completion import CompletionItem, ShellComplete, split_arg_string

SCRIPTS = {
    "bash": r"""# slmctl's completion for bash; made by: slmctl completion bash
_slmctl_completion() {
    local kind value help files="" slmctl="${1/#\~/$HOME}" line="${COMP_LINE:0:COMP_POINT}"
    COMPREPLY=()
    while IFS=$'\t' read -r kind value help; do
        case $kind in
            plain) COMPREPLY+=("$value") ;;
            file) files=yes ;;
        esac
    done <<< "$("$slmctl" completion bash --complete "$line" --word="$2" 2>/dev/null)"
    if [[ -n $files && ${#COMPREPLY[@]} -eq 0 ]]; then
        compopt -o default 2>/dev/null && return
    fi
    if [[ -n $files ]]; then
        while IFS= read -r value; do
            [[ -n $value ]] && COMPREPLY+=("$value")
        done <<< "$(compgen -f -- "$2")"
    fi
}
complete -o nosort -F _slmctl_completion slmctl 2>/dev/null || complete -F _slmctl_completion slmctl
""",
    "zsh": r"""#compdef slmctl
# slmctl's completion for zsh; made by: slmctl completion zsh
_slmctl() {
    local kind value help files="" slmctl="${(Q)words[1]}" line="${(j: :)words[1,CURRENT-1]} $PREFIX"
    local -a values shown
    while IFS=$'\t' read -r kind value help; do
        case $kind in
            plain) values+=("$value"); shown+=("$value${help:+  -- $help}") ;;
            file) files=yes ;;
        esac
    done <<< "$("${slmctl/#\~/$HOME}" completion zsh --complete "$line" 2>/dev/null)"
    (( $#values )) && compadd -V slmctl -l -d shown -a values
    [[ -n $files ]] && _files
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _slmctl "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
    compdef _slmctl slmctl
fi
""",
    "fish": r"""# slmctl's completion for fish; made by: slmctl completion fish
function __slmctl_complete
    set -l line (commandline -cp)
    for candidate in (slmctl completion fish --complete "$line" 2>/dev/null)
        set -l parts (string split -m 2 \t -- $candidate)
        switch $parts[1]
            case plain
                string join \t -- $parts[2..]
            case file
                __fish_complete_path (commandline -ct)
        end
    end
end
complete --no-files --command slmctl --arguments '(__slmctl_complete)'
""",
}


def candidates(cli: click.Command, line: str, word: str | None) -> str:
    """What a script gets for `line`; nothing where a part of it is wrong. `word` is what bash replaces."""
    try:
        return _Line(cli, line, word).complete()
    except Exception:  # noqa: BLE001 - between two keys nobody wants to hear about it
        return ""


class _Line(ShellComplete):
    """The command up to the cursor, with quotes and all."""

    def __init__(self, cli: click.Command, line: str, word: str | None) -> None:
        super().__init__(cli, {}, "slmctl", "")
        words = split_arg_string(line)
        self._incomplete = words.pop() if words and not line[-1].isspace() else ""
        self._words = words
        self._word = word

    def get_completion_args(self) -> tuple[list[str], str]:
        names = [PurePath(word).name for word in self._words]
        if "slmctl" in names:  # behind sudo, and behind variables that are set for it
            return self._words[names.index("slmctl") + 1 :], self._incomplete
        return self._words[1:], self._incomplete

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        items = super().get_completions(args, incomplete)
        option, equals, _ = incomplete.partition("=")
        if incomplete.startswith("--") and equals:  # click gives what stands behind it
            for item in items:
                item.value = f"{option}={item.value}"
        return items

    def format_completion(self, item: CompletionItem[str]) -> str:
        value = item.value[self._kept_length() :]
        about = " ".join((item.help or "").split())
        return f"{item.type}\t{value}\t{about}" if about else f"{item.type}\t{value}"

    def _kept_length(self) -> int:
        """How much of the word stands already and is left alone by the shell."""
        word = (self._word or "").lstrip("\"'")
        if self._word is None or not self._incomplete.endswith(word):
            return 0
        return len(self._incomplete) - len(word)
