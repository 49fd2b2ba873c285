"""How a child begins: kept, with its pipes where the library cannot reach them."""

from __future__ import annotations

import errno
import mmap
import os
from typing import TYPE_CHECKING, TypeVar

from hsm_agent.workers.supervisor.descriptors import hide, take_pipes
from hsm_agent.workers.supervisor.lines import Requests
from hsm_agent.workers.supervisor.page import NOTE, OWN_BYTES, SIZE, Cause
from hsm_agent.workers.supervisor.supervise import keep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

S = TypeVar("S")


def start(words: Sequence[str], sender: Callable[[int, Callable[[OSError], None]], S]) -> tuple[mmap.mmap, Requests, S]:
    """Fork, and return in the child: the page, requests, and what `sender` makes of the pipe for answers.

    Words: the agent's pid, the page's descriptor, and how many bytes of memory the child may have (0: any).
    """
    parent, *rest = (int(word) for word in words)
    page = mmap.mmap(rest[0] if rest else -1, SIZE)
    for descriptor in rest[:1]:
        os.close(descriptor)
    keep(parent, page, *rest[1:])

    def lost(error: OSError) -> None:
        if error.errno == errno.EBADF:
            NOTE.pack_into(page, OWN_BYTES, os.getpid(), Cause.DESCRIPTORS, 0)
        os._exit(1)

    requests, answers = take_pipes()
    talk = Requests(requests, lost), sender(answers, lost)
    hide((requests, answers))
    return page, *talk
