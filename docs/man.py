"""Writes docs/man/*.1 from the command line's own declaration: `python -m docs.man`.

What a page says of a command and its options is click's: nothing is written twice. Only what
no option declares stands here: the exit status and where to read on. No date and no version
of another program goes in, so that the same declaration always gives the same bytes.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vhost_pvscsi.__main__ import main
from vhost_pvscsi.cli.changer.command import CHANGER
from vhost_pvscsi.cli.tape.command import TAPE
from vhost_pvscsi.cli.verbs import VERBS
from vhost_pvscsi.daemon.command import check_config, serve
from vhost_pvscsi.errors import MISUSE, REFUSED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FOLDER = Path(__file__).with_name("man")

#: How `serve` ends, by the name its module has for it.
_EXIT_STATUS = (
    ("0", "It was told to end, or the last connection that was passed to it has ended."),
    (
        str(REFUSED),
        "What was asked for cannot be had here, or commands in flight did not end in time.",
    ),
    (str(MISUSE), "It was asked wrongly; nothing was served."),
)


#: How the verbs for a running daemon end.
_VERB_STATUS = (
    ("0", "Done."),
    (str(REFUSED), "The daemon refused, or is not there."),
    (str(MISUSE), "It was asked wrongly; the daemon was not asked."),
)


#: How what asks no daemon ends.
_CREATE_STATUS = (
    ("0", "Done."),
    (str(REFUSED), "It is there already, or cannot be made."),
    (str(MISUSE), "It was asked wrongly; nothing was made."),
)


@dataclass(frozen=True, slots=True)
class Page:
    """One man page: its name, the command it is about, what else to read."""

    name: str
    words: str  #: what is typed
    command: click.Command
    see_also: tuple[str, ...]
    exit_status: tuple[tuple[str, str], ...] = ()


PAGES = (
    Page(
        "vhost-pvscsi",
        "vhost-pvscsi",
        main,
        (
            "vhost-pvscsi-serve",
            "vhost-pvscsi-check-config",
            "vhost-user-pvscsi",
            "vhost-pvscsi-tape",
            "vhost-pvscsi-changer",
            *sorted(f"vhost-pvscsi-{verb.name}" for verb in VERBS),
        ),
    ),
    Page(
        "vhost-pvscsi-serve",
        "vhost-pvscsi serve",
        serve,
        ("vhost-pvscsi", "vhost-user-pvscsi", "qemu"),
        _EXIT_STATUS,
    ),
    Page(
        "vhost-pvscsi-check-config",
        "vhost-pvscsi check-config",
        check_config,
        ("vhost-pvscsi", "vhost-pvscsi-serve"),
        (
            ("0", "The file can be used."),
            (str(REFUSED), "It cannot be read."),
            (str(MISUSE), "It has mistakes."),
        ),
    ),
    Page(
        "vhost-user-pvscsi",
        "vhost-user-pvscsi",
        serve,
        ("vhost-pvscsi-serve", "qemu"),
        _EXIT_STATUS,
    ),
    *(
        Page(
            f"vhost-pvscsi-{verb.name}",
            f"vhost-pvscsi {verb.name}",
            verb,
            ("vhost-pvscsi", "vhost-pvscsi-serve"),
            _VERB_STATUS,
        )
        for verb in VERBS
    ),
    Page(
        "vhost-pvscsi-tape",
        "vhost-pvscsi tape",
        TAPE,
        (
            "vhost-pvscsi-serve",
            *sorted(f"vhost-pvscsi-tape-{name}" for name in TAPE.commands),
        ),
    ),
    *(
        Page(
            f"vhost-pvscsi-tape-{name}",
            f"vhost-pvscsi tape {name}",
            command,
            ("vhost-pvscsi-tape", "vhost-pvscsi-serve"),
            (
                ("0", "Done."),
                (str(REFUSED), "It is no tape, something is wrong with it, or it is not there."),
                (str(MISUSE), "It was asked wrongly."),
            ),
        )
        for name, command in TAPE.commands.items()
    ),
    Page(
        "vhost-pvscsi-changer",
        "vhost-pvscsi changer",
        CHANGER,
        (
            "vhost-pvscsi-serve",
            "vhost-pvscsi-tape",
            *sorted(f"vhost-pvscsi-changer-{name}" for name in CHANGER.commands),
        ),
    ),
    *(
        Page(
            f"vhost-pvscsi-changer-{name}",
            f"vhost-pvscsi changer {name}",
            command,
            ("vhost-pvscsi-changer", "vhost-pvscsi-serve"),
            _CREATE_STATUS if name == "create" else _VERB_STATUS,
        )
        for name, command in CHANGER.commands.items()
    ),
)


def render(page: Page) -> str:
    """Make the roff source of a page (man(7))."""
    return "\n".join(_lines(page)) + "\n"


def _lines(page: Page) -> Iterator[str]:
    settings = page.command.context_settings
    context = click.Context(page.command, info_name=page.words, **settings)
    summary, paragraphs, examples = _help_parts(page.command)
    release = importlib.metadata.version("vhost-pvscsi")
    yield '.\\" Written by "python -m docs.man" from the program\'s own declaration.'
    yield f'.TH {page.name.upper()} 1 "" "vhost_pvscsi {_plain(release)}" "User Commands"'
    yield from (".SH NAME", f"{_plain(page.name)} \\- {_plain(summary[:1].lower() + summary[1:])}")
    pieces = " ".join(page.command.collect_usage_pieces(context))
    yield from (".SH SYNOPSIS", f".B {_plain(page.words)}", _plain(pieces))
    yield from (".SH DESCRIPTION", _plain(f"{summary}."))
    for paragraph in paragraphs:
        yield from (".PP", _plain(paragraph))
    if isinstance(page.command, click.Group):
        yield ".SH COMMANDS"
        for name in page.command.list_commands(context):
            command = page.command.get_command(context, name)
            assert command is not None  # it has just been listed
            yield from _item(name, _help_parts(command)[0] + ".")
    yield ".SH OPTIONS"
    for option in page.command.get_params(context):
        if isinstance(option, click.Option):
            yield from _option(option, context)
    yield from _closing(page, examples)


def _closing(page: Page, examples: Iterable[str]) -> Iterator[str]:
    if page.exit_status:
        yield ".SH EXIT STATUS"
        for status, meaning in page.exit_status:
            yield from _item(status, meaning)
    for example in examples:
        yield from (".SH EXAMPLE", ".nf", *map(_plain, example.splitlines()), ".fi")
    yield from (".SH SEE ALSO", ",\n".join(f"\\fB{_plain(name)}\\fR(1)" for name in page.see_also))


def _help_parts(command: click.Command) -> tuple[str, list[str], list[str]]:
    """The summary without its full stop, the paragraphs, the examples as they are laid out."""
    first, *rest = re.split(r"\n\s*\n", inspect.cleandoc(command.help or ""))
    paragraphs = [" ".join(text.split()) for text in rest if not text.startswith("\b")]
    # click leaves a paragraph that begins with \b as it is: a heading line, then the example.
    examples = ["\n".join(text.split("\n")[2:]) for text in rest if text.startswith("\b")]
    return " ".join(first.split()).removesuffix("."), paragraphs, examples


def _option(option: click.Option, context: click.Context) -> Iterator[str]:
    names = ", ".join([*option.opts, *option.secondary_opts])
    if not option.is_flag:
        names += f" {option.make_metavar(context)}"
    text = " ".join((option.help or "").split())
    kind = option.type
    if isinstance(kind, click.IntRange) and kind.max is not None:
        text += f" From {kind.min} to {kind.max}."
    if option.show_default:
        default = option.opts[0] if option.is_flag and option.default else option.default
        text += f" The default is {default}."
    yield from _item(names, text)


def _item(term: str, text: str) -> Iterator[str]:
    yield from (".TP", f"\\fB{_plain(term)}\\fR", _plain(text))


def _plain(text: str) -> str:
    """Protect what roff would read as its own: escapes, minus signs, requests at a line's start."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"(?m)^(?=[.'])", r"\\&", text)


def write() -> None:
    """Write all pages; remove those that no command has any more."""
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.1"):
        old.unlink()
    for page in PAGES:
        (FOLDER / f"{page.name}.1").write_text(render(page), encoding="utf-8")


if __name__ == "__main__":
    write()
