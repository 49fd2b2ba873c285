"""The command line as data: what completions and the manual page are made of.

Read from click's commands and, for `check`, from its argparse parser: nothing is written down twice.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import click

from hsm_agent.cli import check

if TYPE_CHECKING:
    from collections.abc import Iterator

_FILE_DESTINATIONS = {"module", "config"}
"""Arguments of `check` that name a file: argparse does not tell."""


class Takes(Enum):
    """What stands behind an option, or as an argument."""

    NOTHING = "nothing"
    FILE = "file"
    DIRECTORY = "directory"
    WORD = "word"


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionWords:
    """An option: its names, what it takes, and what it is for.

    `shown` is how its value is written in help; one that `repeats` may be given several times.
    """

    names: tuple[str, ...]
    takes: Takes
    shown: str = ""
    choices: tuple[str, ...] = ()
    help: str = ""
    repeats: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VerbWords:
    """A verb, by the words that lead to it; none for the command itself."""

    path: tuple[str, ...]
    help: str
    options: tuple[OptionWords, ...]
    arguments: tuple[str, ...] = ()
    """How its arguments are written in help."""
    argument_takes: Takes = Takes.NOTHING
    argument_choices: tuple[str, ...] = ()
    verbs: tuple[VerbWords, ...] = ()

    @property
    def summary(self) -> str:
        """The first sentence of its help."""
        return self.help.partition("\n")[0].partition(". ")[0].rstrip(".")

    @property
    def has_known_arguments(self) -> bool:
        """Whether it takes arguments that a shell can complete."""
        return bool(self.argument_choices) or self.argument_takes in {Takes.FILE, Takes.DIRECTORY}

    def walk(self) -> Iterator[VerbWords]:
        """This verb, and all below it."""
        yield self
        for verb in self.verbs:
            yield from verb.walk()


def verb_words(command: click.Command, path: tuple[str, ...] = (), above: click.Context | None = None) -> VerbWords:
    """A command and all below it; `above` is the context of what it stands below."""
    if path == ("check",):
        return _plugin(path)
    name = path[-1] if path else "hsm-agent"
    context = click.Context(command, info_name=name, parent=above, **command.context_settings)
    parameters = command.get_params(context)
    arguments = [each for each in parameters if isinstance(each, click.Argument)]
    below = command.commands if isinstance(command, click.Group) else {}
    return VerbWords(
        path=path,
        help=_plain(command.help or ""),
        options=tuple(_option(each) for each in parameters if isinstance(each, click.Option) and not each.hidden),
        arguments=tuple(each.make_metavar(context) for each in arguments),
        argument_takes=_takes(arguments[0]) if arguments else Takes.NOTHING,
        argument_choices=_choices(arguments[0]) if arguments else (),
        verbs=tuple(
            verb_words(each, (*path, word), context) for word, each in sorted(below.items()) if not each.hidden
        ),
    )


def _plain(text: str) -> str:
    """Paragraphs of a docstring, each on a line; click's mark of a paragraph that is not wrapped is left out."""
    paragraphs = text.replace("\b", "").split("\n\n")
    return "\n".join(" ".join(each.split()) for each in paragraphs if each.strip())


def _option(option: click.Option) -> OptionWords:
    takes = Takes.NOTHING if option.is_flag or option.count else _takes(option)
    choices = _choices(option)
    shown = "" if takes is Takes.NOTHING else option.metavar or "|".join(choices) or option.type.name.upper()
    if takes is Takes.FILE:
        shown = option.metavar or "FILE"
    return OptionWords(
        names=(*option.opts, *option.secondary_opts),
        takes=takes,
        shown=shown,
        choices=choices,
        help=option.help or "",
        repeats=option.multiple or option.count,
    )


def _takes(parameter: click.Parameter) -> Takes:
    if isinstance(parameter.type, click.Path):
        return Takes.FILE if parameter.type.file_okay else Takes.DIRECTORY
    return Takes.FILE if "--config" in parameter.opts else Takes.WORD


def _choices(parameter: click.Parameter) -> tuple[str, ...]:
    return tuple(map(str, parameter.type.choices)) if isinstance(parameter.type, click.Choice) else ()


def _plugin(path: tuple[str, ...]) -> VerbWords:
    """`check`, which goes its own way without click."""
    actions = check.parser()._actions  # noqa: SLF001 - argparse has no public list of them
    return VerbWords(
        path=path,
        help=check.DESCRIPTION,
        options=tuple(_action(each) for each in actions if each.option_strings),
        arguments=tuple(f"[{each.metavar}]…" for each in actions if not each.option_strings),
        argument_takes=Takes.WORD,
    )


def _action(action: argparse.Action) -> OptionWords:
    takes = Takes.FILE if action.dest in _FILE_DESTINATIONS else Takes.WORD
    if action.nargs == 0:
        takes = Takes.NOTHING
    shown = "" if takes is Takes.NOTHING else str(action.metavar or action.dest.upper())
    return OptionWords(
        names=tuple(action.option_strings),
        takes=takes,
        shown=shown,
        help=action.help or "",
        repeats=isinstance(action, argparse._CountAction),  # noqa: SLF001 - as above
    )
