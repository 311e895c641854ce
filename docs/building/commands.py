"""The reference of the command line, from the parser that reads it."""

from __future__ import annotations

from argparse import SUPPRESS, Action, _ArgumentGroup

from reparam.cli.options import COMMANDS
from reparam.cli.parser import parser_of

_HEAD = """# The command line

    reparam COMMAND ...

This page is made from the parser itself. `reparam COMMAND --help` prints the same.

Exit status: 0 done; 2 wrong use or bad input, in one line that names cause and remedy; 1 failure while running; 130
interrupted. Every option can also be set by an environment variable, such as `REPARAM_SEED=1`, and those of
`train` by a TOML or YAML file (`--config`), a run's own `config.toml` included: the command line goes before the
environment, and that before the file. `REPARAM_DEBUG=1` shows where an error came from.

"""


def command_pages() -> dict[str, str]:
    """The page, by its place."""
    overview = [f"| [`{name}`](#{name}) | {_first(options.__doc__)} |" for name, (options, _) in COMMANDS.items()]
    parts = [_HEAD, "| command | what it does |\n|---|---|\n", "\n".join(overview), "\n"]
    parts += [_command(name, options) for name, (options, _) in COMMANDS.items()]
    return {"reference/command.md": "".join(parts)}


def _command(name: str, options: type) -> str:
    parser = parser_of(name, options)
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    positional = [a.dest.upper() for a in parser._actions if not a.option_strings]
    usage = " ".join(["reparam", name, *positional, "[OPTIONS]"]) if len(usage) > 100 else usage
    text = f"\n## {name}\n\n{' '.join((options.__doc__ or '').split())}\n\n```text\n{usage}\n```\n"
    for group in parser._action_groups:
        text += _group(group)
    return text


def _group(group: _ArgumentGroup) -> str:
    rows = [_row(action) for action in group._group_actions if action.dest not in ("help", "print_config")]
    if not rows:
        return ""
    plain = group.title in ("positional arguments", "options", "optional arguments", None)
    title = "" if plain else f"\n**{str(group.title)[0].upper()}{str(group.title)[1:]}**\n"
    return f"{title}\n| option | what it is | unless given |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def _row(action: Action) -> str:
    names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{action.dest.upper()}`"
    default = "" if action.default in (None, False, SUPPRESS) else action.default
    shown = ",".join(map(str, default)) if isinstance(default, list) else str(default)
    needed = "must be given" if action.required else ""
    text = (action.help or "").replace("|", "\\|")
    return f"| {names} | {text} | {f'`{shown}`' if shown else needed} |"


def _first(text: str | None) -> str:
    return (text or "").splitlines()[0]
