"""Regular expressions of an operator's own, which must not hold the agent up. Pure."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[+*(){]|[^\\\[+*(){]+|.", re.DOTALL)
_REPEATS = re.compile(r"[+*]|\{[0-9]*,[0-9]*\}|\{[0-9]+\}")


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The pattern, compiled. Raises ValueError with what is wrong with it, also for one that might never end."""
    try:
        made = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a pattern: {error}") from None
    if _repeats_a_repetition(pattern):
        raise ValueError("a repetition inside a repeated group can take for ever on the wrong line: write it flat")
    return made


def _repeats_a_repetition(pattern: str) -> bool:
    """Whether a group that is repeated repeats something itself: `(a+)+`, whose time doubles with every character."""
    inside = [False]
    place = 0
    while place < len(pattern):
        repeat = _REPEATS.match(pattern, place)
        if repeat is not None:
            inside[-1] = True
            place = repeat.end()
            continue
        token = _TOKEN.match(pattern, place)
        assert token is not None  # its last alternative is any character
        place = token.end()
        if token[0] == "(":
            inside.append(False)
            place += pattern.startswith("?", place)
        elif token[0] == ")" and len(inside) > 1:
            repeats = inside.pop()
            if repeats and _REPEATS.match(pattern, place):
                return True
            inside[-1] = inside[-1] or repeats
    return False
