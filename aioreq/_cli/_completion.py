"""Scripts that complete the command line in a shell, made from its own parser."""

from __future__ import annotations

import argparse

from ._arguments import build_parser

_BASH = """\
_aioreq() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words
    if (( COMP_CWORD == 1 )); then
        COMPREPLY=($(compgen -W "%(commands)s" -- "$word"))
        return
    fi
    case ${COMP_WORDS[1]}:$before in
%(choices)s
    esac
    case ${COMP_WORDS[1]} in
%(options)s
    esac
    if [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W "$words" -- "$word"))
    else
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -f -- "$word"))
    fi
}
complete -F _aioreq aioreq
"""

# zsh understands bash's script when it is asked to, and has its own completion at work.
_ZSH = """\
(( $+functions[compdef] )) || { autoload -U compinit && compinit }
autoload -U +X bashcompinit && bashcompinit
"""


def completion(shell: str) -> str:
    """The script for a shell: bash, zsh or fish."""
    if shell == "fish":
        return "\n".join(_fish())
    if shell == "zsh":
        return _ZSH + _bash()
    return _bash()


def _commands() -> dict[str, argparse.ArgumentParser]:
    [commands] = [action for action in build_parser()._actions if isinstance(action.choices, dict)]  # noqa: SLF001
    return dict(commands.choices or {})


def _options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.help is not argparse.SUPPRESS]  # noqa: SLF001


def _bash() -> str:
    commands = _commands()
    options, choices = [], []
    for name, parser in commands.items():
        words = [word for action in _options(parser) for word in action.option_strings]
        options.append(f'        {name}) words="{" ".join(words)}" ;;')
        for action in _options(parser):
            if action.choices:
                before = "|".join(f"{name}:{word}" for word in action.option_strings or [name])
                values = " ".join(map(str, action.choices))
                choices.append(f'        {before}) COMPREPLY=($(compgen -W "{values}" -- "$word")); return ;;')
    return _BASH % {"commands": " ".join(commands), "options": "\n".join(options), "choices": "\n".join(choices)}


def _fish() -> list[str]:
    commands = _commands()
    lines = [f"complete -c aioreq -n __fish_use_subcommand -f -a '{' '.join(commands)}'"]
    for name, parser in commands.items():
        for action in _options(parser):
            words = "".join(
                f" -l {word[2:]}" if word.startswith("--") else f" -s {word[1:]}" for word in action.option_strings
            )
            values = f" -x -a '{' '.join(map(str, action.choices))}'" if action.choices else ""
            if words or values:
                about = (action.help or "").partition(" (")[0].replace("'", "\\'")
                condition = f"'__fish_seen_subcommand_from {name}'"
                lines.append(f"complete -c aioreq -n {condition}{words}{values} -d '{about}'")
    return lines
