"""From the words of a command line, configuration files and the environment to options, with errors of one line."""

from __future__ import annotations

import os
import re
import tomllib
import warnings
from argparse import SUPPRESS, Action
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser, DefaultHelpFormatter

from reparam.cli.options import COMMANDS
from reparam.errors import InputError, nearest


def parse(command: str, options: type, words: Sequence[str]) -> Any:
    """The options of a command: the command line before environment variables, before a configuration file.

    Raises:
        InputError: in one line, for anything that the command does not take.
        SystemExit: after printing help.
    """
    parser = parser_of(command, options, words)
    words = _defaults_of_a_run(parser, options, list(words))
    try:
        with environment(options):
            found = parser.parse_args(words)
    except ArgumentError as error:
        raise InputError(_one_line(str(error), command, options)) from None
    return options(**{f.name: getattr(found, f.name) for f in fields(options)})


def sizes(value: Any) -> list[int]:
    """A list of whole numbers, from 400, "400", "400,200" or a list."""
    parts = value.strip("[] ").split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    return [int(p) for p in parts]


class _Help(DefaultHelpFormatter):
    """Help that says what an option does and what it is unless given, and leaves types out."""

    def _get_help_string(self, action: Action) -> str:
        if action.default is None or action.default is False or action.default == SUPPRESS:
            return action.help or ""
        shown = ",".join(map(str, action.default)) if isinstance(action.default, list) else action.default
        return f"{action.help} (default: {shown})"


def parser_of(command: str, options: type, words: Sequence[str] = ()) -> ArgumentParser:
    """The parser of a command, for these words of a command line."""
    config = _config_file(words)
    wants_help = any(w in ("-h", "--help") for w in words)
    parser = ArgumentParser(
        prog=f"reparam {command}",
        description=options.__doc__,
        epilog="Every option can also be set by an environment variable, such as REPARAM_SEED=1.",
        parser_mode="yaml" if config and config.suffix in (".yaml", ".yml") else "toml",
        default_env=not wants_help,  # with it, the help would show two lines for each option
        env_prefix="REPARAM",
        exit_on_error=False,
        allow_abbrev=False,
        print_config=None,
        formatter_class=_Help,
    )
    if command in ("train", "sweep"):
        parser.add_argument(
            "--config", action=ActionConfigFile, help="a TOML or YAML file of these options, or of a run"
        )
    hints, groups = get_type_hints(options), dict[str, Any]({"": parser})
    for f in sorted(fields(options), key=lambda f: f.name != "run"):  # the run is the first of the positional ones
        kind, text, group = hints[f.name], f.metadata["help"], f.metadata.get("group", "")
        place = groups[group] if group in groups else groups.setdefault(group, parser.add_argument_group(group))
        if f.metadata.get("positional"):
            optional: dict[str, Any] = {} if f.default is MISSING else {"nargs": "?", "default": f.default}
            place.add_argument(f.name, type=kind, help=text, metavar=f.name.upper(), **optional)
        elif kind is bool:
            place.add_argument(_flag(f.name), action="store_true", help=text)
        else:
            is_required = f.default is MISSING and f.default_factory is MISSING
            default = None if f.default is MISSING else f.default
            default = default if f.default_factory is MISSING else f.default_factory()
            names = [f.metadata["short"]] if "short" in f.metadata else []
            place.add_argument(
                *names, _flag(f.name), type=sizes if kind in (list[int], list[int] | None) else kind, default=default,
                required=is_required, help=text, metavar=f.name.upper(),
            )  # fmt: skip
    return parser


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _config_file(words: Sequence[str]) -> Path | None:
    for i, word in enumerate(words):
        if word == "--config" and i + 1 < len(words):
            path = Path(words[i + 1])
        elif word.startswith("--config="):
            path = Path(word.removeprefix("--config="))
        else:
            continue
        if not path.is_file():
            raise InputError(f"no such configuration file: {path}")
        return path
    return None


_NOT_REUSED = ("data", "out", "overwrite", "threads")  # what a new run has of its own


def _defaults_of_a_run(parser: ArgumentParser, options: type, words: list[str]) -> list[str]:
    """Take the options in the ``config.toml`` of a run as defaults; return the words without that file."""
    path = _config_file(words)
    if path is None or path.suffix != ".toml":
        return words
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return words  # the parser says what is wrong with it
    if "format" not in table or "model" not in table:
        return words
    if not isinstance(found := table.get("options"), dict):
        raise InputError(f"{path} is of a run that was made in Python: it has no options of this command")
    unused = {"channels" if found.get("network", "mlp") == "mlp" else "hidden", *_NOT_REUSED}
    unused |= {"objective", "k", "beta"} if "recipe" in found else set()  # the recipe brings them
    known = {f.name for f in fields(options)}
    if strange := sorted(found.keys() - known):
        raise InputError(
            f"the configuration file has an option {strange[0]!r} that is none: {nearest(strange[0], known)}"
        )
    parser.set_defaults({name: value for name, value in found.items() if name not in unused})
    at = next(i for i, word in enumerate(words) if word == "--config" or word.startswith("--config="))
    return words[:at] + words[at + (2 if words[at] == "--config" else 1) :]


_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@contextmanager
def environment(options: type) -> Iterator[None]:
    """Environment variables in the spelling of the parser.

    Raises:
        InputError: for a misspelt variable, or a switch that is neither on nor off.
    """
    known = {f"REPARAM_{f.name.upper()}" for cls, _ in COMMANDS.values() for f in fields(cls)} | {"REPARAM_DEBUG"}
    for name in sorted(n for n in os.environ if n.startswith("REPARAM_") and n not in known):
        words = nearest(name[8:], (n[8:] for n in known))
        if words.startswith("did you mean"):  # a name that is like none of them may be anybody's
            raise InputError(f"no option has the environment variable {name}: {words}")
        warnings.warn(f"no option has the environment variable {name}: it is not read", stacklevel=1)
    switches = [n for n in known & os.environ.keys() if get_type_hints(options).get(n[8:].lower()) is bool]
    before = {name: os.environ[name] for name in switches}
    for name, value in before.items():
        if value.lower() not in (*_TRUE, *_FALSE):
            raise InputError(f"{name} takes 1 or 0, yes or no, not {value!r}")
    try:
        os.environ.update({name: str(value.lower() in _TRUE).lower() for name, value in before.items()})
        yield
    finally:
        os.environ.update(before)


def _one_line(message: str, command: str, options: type) -> str:
    """jsonargparse's errors in the words of a command line, with the nearest known option."""
    names = [f.name for f in fields(options)]
    flags = [_flag(f.name) for f in fields(options) if not f.metadata.get("positional")]
    if found := re.search(r"unrecognized arguments: (\S+)", message):
        word = found[1].split("=")[0]
        if word.startswith("-"):
            return f"{command} has no option {word}: {nearest(word, flags)}"
        return f"{command} does not know what to do with {word!r}: see reparam {command} --help"
    if found := re.search(r"Option '([^']+)' is not accepted", message):
        return f"the configuration file has an option {found[1]!r} that is none: {nearest(found[1], names)}"
    if found := re.search(r"[Kk]ey \"?'?(\w+)\"?'?:(.*)(?:Got|Given) value: (.*)", message, re.S):
        kinds = {"'int'": "a whole number", "'float'": "a number", "'bool'": "true or false"}
        kind = next((words for name, words in kinds.items() if name in found[2]), "another kind of value")
        return f"{_flag(found[1])} takes {kind}, not {found[3].strip()!r}"
    if found := re.search(r"argument (\S+): invalid sizes value: (.*)", message):
        return f"{found[1]} takes whole numbers, such as 400 or 400,200, not {found[2]}"
    if found := re.search(r"Problems parsing config: (.*)", message, re.S):
        return f"the configuration file is broken: {' '.join(found[1].split())}"
    if found := re.search(r"arguments are required: (.*)", message):
        positional = {f.name for f in fields(options) if f.metadata.get("positional")}
        wanted = " and ".join(w.upper() if w in positional else _flag(w) for w in found[1].split(", "))
        return f"{command} needs {wanted}: see reparam {command} --help"
    return " ".join(message.split())
