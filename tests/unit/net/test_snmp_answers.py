"""snmp_answers: answers from elsewhere are told, but not for ever. Over real sockets in tests/loopback."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hsm_agent.net.snmp_answers import Elsewhere

if TYPE_CHECKING:
    import pytest


def test_each_place_is_told_once_and_not_more_than_a_few(caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = Elsewhere("udp:192.0.2.1:161", believed=True)

    with caplog.at_level(logging.WARNING):
        for number in [*range(100), *range(100)]:
            elsewhere.note(f"192.0.2.{number}:161")

    told = [record.getMessage() for record in caplog.records]
    assert told[0] == "udp:192.0.2.1:161: an answer comes from 192.0.2.0:161 and is taken"
    assert len(told) == 8
