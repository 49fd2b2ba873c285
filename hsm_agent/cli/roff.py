"""Markdown as man(7) writes it: what a manual page takes from the documentation. Pure.

Tables become lists of terms: a page is read in 80 columns. Every character beyond ASCII is written as an escape, so
that no formatter needs to be told of an encoding.
"""

from __future__ import annotations

import re
from itertools import pairwise
from textwrap import wrap
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from markdown_it.token import Token

_FONTS = {"strong_open": "\\fB", "strong_close": "\\fR", "em_open": "\\fI", "em_close": "\\fR"}
_WIDTH_OF_TERMS = 4
_LINE = 78


def plain(text: str) -> str:
    """A text of words: escaped, and nothing at its beginning taken for a request."""
    escaped = text.replace("\\", "\\e").replace("^", "\\(ha").replace("~", "\\(ti").replace("`", "\\(ga")
    escaped = "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in escaped)
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def literal(text: str) -> str:
    """A text that is typed: its hyphens are hyphens, and its apostrophes straight."""
    return plain(text).replace("-", "\\-").replace("'", "\\(aq")


def bold(text: str) -> str:
    """A literal text in bold."""
    return f"\\fB{literal(text)}\\fR"


def example(text: str) -> Iterator[str]:
    """Lines that are shown as they are."""
    yield from (".PP", ".RS 4", ".EX", *map(literal, text.rstrip("\n").split("\n")), ".EE", ".RE")


def lines(text: str) -> Iterator[str]:
    """A paragraph of roff in short lines, none of which is taken for a request."""
    for line in wrap(text, _LINE, break_long_words=False, break_on_hyphens=False):
        yield f"\\&{line}" if line.startswith((".", "'")) else line


def body(markdown: str, *, title: bool = True) -> Iterator[str]:
    """The lines of a page's text; `title`: its first heading is the page's own and left out."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    at = 3 if title and tokens and tokens[0].type == "heading_open" else 0
    opens = True
    while at < len(tokens):
        end = _end(tokens, at)
        made = [*_block(tokens[at:end])]
        yield from made[1:] if opens and made[:1] == [".PP"] else made  # a heading has its paragraph with it
        opens = tokens[at].type == "heading_open"
        at = end


def _end(tokens: Sequence[Token], at: int) -> int:
    """Behind the block that begins there."""
    depth = 0
    for index in range(at, len(tokens)):
        depth += tokens[index].nesting
        if depth == 0:
            return index + 1
    return len(tokens)


def _block(tokens: Sequence[Token]) -> Iterator[str]:
    first = tokens[0]
    if first.type == "heading_open":
        macro = ".SH" if first.tag == "h2" else ".SS"
        heading = _text(tokens[1]).replace('"', "\\(dq")
        yield f'{macro} "{heading}"'
    elif first.type == "paragraph_open":
        yield from (".PP", *lines(_text(tokens[1])))
    elif first.type == "fence":
        yield from example(first.content)
    elif first.type == "table_open":
        yield from _table(tokens)
    elif first.type in {"bullet_list_open", "ordered_list_open"}:
        yield from _list(tokens)


def _list(tokens: Sequence[Token]) -> Iterator[str]:
    """Each item's paragraphs; what is nested deeper follows as items of its own."""
    for token, inner in pairwise(tokens):
        if token.type == "paragraph_open":
            yield from (f".IP \\(bu {_WIDTH_OF_TERMS}", *lines(_text(inner)))


def _table(tokens: Sequence[Token]) -> Iterator[str]:
    rows: list[list[str]] = []
    for token, inner in pairwise(tokens):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in {"td_open", "th_open"}:
            rows[-1].append(_text(inner))
    heads, *rest = rows
    is_keys = [head.lower() for head in heads[:3]] == ["key", "type", "default"]
    for term, *others in rest:
        cells = others
        yield ".TP"
        if is_keys:
            kind, default, *cells = others
            yield f"{term} \\(em {kind}" + ("" if default in {"", "see below"} else f" ({_default(default)})")
        else:
            yield term
        yield from lines("; ".join(filter(None, cells)) or "\\&")


def _default(text: str) -> str:
    return text if text == "required" else f"default {text}"


def _text(token: Token) -> str:
    """The inline text of a block on one line, with its fonts."""
    pieces = []
    for child in token.children or ():
        if child.type == "text":
            pieces.append(plain(child.content))
        elif child.type == "code_inline":
            pieces.append(bold(child.content))
        elif child.type in {"softbreak", "hardbreak"}:
            pieces.append(" ")
        else:
            pieces.append(_FONTS.get(child.type, ""))
    # Fonts do not nest here: what is bold and a link is bold. A request may stand at the beginning of a line only.
    return re.sub(r"\\fB\\fB(.*?)\\fR\\fR", r"\\fB\1\\fR", "".join(pieces)).strip()
