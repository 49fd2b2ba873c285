"""`hsm-agent demo` outside a checkout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hsm_agent.cli.demo import DemoError, run

if TYPE_CHECKING:
    from pathlib import Path


def test_without_a_checkout_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="needs a source checkout"):
        run(tmp_path / "hsm_agent")
