from __future__ import annotations

from hsm_agent.worker import luna
from hsm_agent.worker.cryptoki import Module


def test_a_library_without_luna_s_functions_has_none() -> None:
    assert luna.bind(Module("libc.so.6", lambda *_: None)) == []
