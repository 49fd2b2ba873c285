"""Documents as JSON, in pieces: Python's encoder lets no other thread run until its call is over.

The status of a thousand tokens takes it a tenth of a second, whatever thread it is called in: far longer than the
event loop may be held up.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def octets(document: Mapping[str, object]) -> bytes:
    """The document as one line of strict JSON. To be called in a thread where it may be large."""
    members = (f"{json.dumps(name)}: {''.join(_value(value))}" for name, value in document.items())
    return f"{{{', '.join(members)}}}".encode()


def _value(value: object) -> Iterator[str]:
    if not isinstance(value, list):
        yield json.dumps(value, allow_nan=False)
        return
    yield "["
    for position, item in enumerate(value):
        if position:
            yield ", "
        yield json.dumps(item, allow_nan=False)
    yield "]"
