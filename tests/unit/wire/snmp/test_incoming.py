"""What can be seen of a message before it is believed."""

from __future__ import annotations

import pytest

from hsm_agent.wire.snmp import v3
from hsm_agent.wire.snmp.authority import LOCAL_ENGINE_ID, Incoming, peek
from hsm_agent.wire.snmp.pdu import open_message
from tests.fakes.snmp_messages import AUTH_USER, ENGINE_ID, NOW, PRIV_USER, V3

AUTH, PRIV = AUTH_USER.localize(ENGINE_ID), PRIV_USER.localize(ENGINE_ID)


def incoming(message: V3) -> Incoming:
    datagram = message.encode()
    _, position, end = open_message(datagram)
    header, position = v3.read_header(datagram, position, end)
    parameters, position = v3.read_parameters(datagram, position, end)
    return Incoming(datagram, "127.0.0.1", NOW, header, parameters, position, end)


def test_whether_a_message_is_encrypted_is_what_its_flags_say() -> None:
    assert incoming(V3(keys=PRIV)).encrypted
    assert not incoming(V3(keys=AUTH)).encrypted


@pytest.mark.parametrize(
    ("message", "wanted", "seen"),
    [
        pytest.param(V3(keys=AUTH), None, True, id="any"),
        pytest.param(V3(keys=AUTH), LOCAL_ENGINE_ID, False, id="another context engine"),
        pytest.param(V3(keys=AUTH, context_engine_id=LOCAL_ENGINE_ID), LOCAL_ENGINE_ID, True, id="that context engine"),
        pytest.param(
            V3(keys=AUTH, context_engine_id=LOCAL_ENGINE_ID, context_name=b"a"), LOCAL_ENGINE_ID, False, id="a context"
        ),
        pytest.param(V3(keys=AUTH, inner=b"\xa0\x00"), None, False, id="no PDU"),
    ],
)
def test_a_pdu_in_clear_is_seen(message: V3, wanted: bytes | None, seen: bool) -> None:
    assert (peek(incoming(message), wanted) is not None) is seen
