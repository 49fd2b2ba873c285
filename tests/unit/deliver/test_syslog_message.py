"""The numbers on messages, and what is said of the clock."""

from __future__ import annotations

import os

from hsm_agent.deliver.syslog import MessageBuilder, clock_is_synchronised
from hsm_agent.wire.syslog.rfc5424 import MAX_SEQUENCE_ID
from tests.fakes.syslog_events import event
from tests.fakes.syslog_oracle import Message, read
from tests.fakes.syslog_sinks import CONTEXT


def stamped(builder: MessageBuilder) -> Message:
    return read(builder.message(event()))


def test_sequence_ids_count_from_1_and_wrap_to_1() -> None:
    builder = MessageBuilder(CONTEXT.origin, facility=20, max_bytes=8000)

    first = [stamped(builder).data["meta"]["sequenceId"] for _ in range(3)]
    builder._sequence_id = MAX_SEQUENCE_ID - 1
    last = [stamped(builder).data["meta"]["sequenceId"] for _ in range(2)]

    assert first == ["1", "2", "3"]
    assert last == ["2147483647", "1"]


def test_two_sinks_count_for_themselves() -> None:
    stamps = [MessageBuilder(CONTEXT.origin, facility=20, max_bytes=8000) for _ in range(2)]

    assert [stamped(builder).data["meta"]["sequenceId"] for builder in stamps] == ["1", "1"]


def test_the_sender_is_this_process_of_this_agent() -> None:
    found = stamped(MessageBuilder(CONTEXT.origin, facility=20, max_bytes=8000))

    assert found.process_id == str(os.getpid())
    assert found.host_name == "hsm-monitor-1.example.net"
    assert found.data["origin"] == {"software": "hsm-agent", "swVersion": "1.2.3", "enterpriseId": "32473"}


def test_the_clock_is_as_the_kernel_says() -> None:
    synced = {True: "1", False: "0"}[clock_is_synchronised()]

    assert (
        stamped(MessageBuilder(CONTEXT.origin, facility=20, max_bytes=8000)).data["timeQuality"]["isSynced"] == synced
    )
