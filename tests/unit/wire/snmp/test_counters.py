"""What is counted, and where."""

from __future__ import annotations

from hsm_agent.wire.snmp.engine import Count, Counters


def test_counting_starts_at_nothing_and_says_the_new_count() -> None:
    counters = Counters()

    assert [counters[count] for count in Count] == [0] * 18
    assert counters.add(Count.IN_PKTS) == 1
    assert counters.add(Count.IN_PKTS) == 2
    assert counters[Count.IN_PKTS] == 2
    assert counters[Count.WRONG_DIGESTS] == 0


def test_counters_stand_where_the_rfcs_put_them() -> None:
    names = {count.name: ".".join(map(str, count.oid)) for count in Count}

    assert names == {
        "IN_PKTS": "1.3.6.1.2.1.11.1.0",
        "IN_BAD_VERSIONS": "1.3.6.1.2.1.11.3.0",
        "IN_BAD_COMMUNITY_NAMES": "1.3.6.1.2.1.11.4.0",
        "IN_BAD_COMMUNITY_USES": "1.3.6.1.2.1.11.5.0",
        "IN_ASN_PARSE_ERRS": "1.3.6.1.2.1.11.6.0",
        "SILENT_DROPS": "1.3.6.1.2.1.11.31.0",
        "PROXY_DROPS": "1.3.6.1.2.1.11.32.0",
        "UNKNOWN_SECURITY_MODELS": "1.3.6.1.6.3.11.2.1.1.0",
        "INVALID_MSGS": "1.3.6.1.6.3.11.2.1.2.0",
        "UNKNOWN_PDU_HANDLERS": "1.3.6.1.6.3.11.2.1.3.0",
        "UNAVAILABLE_CONTEXTS": "1.3.6.1.6.3.12.1.4.0",
        "UNKNOWN_CONTEXTS": "1.3.6.1.6.3.12.1.5.0",
        "UNSUPPORTED_SEC_LEVELS": "1.3.6.1.6.3.15.1.1.1.0",
        "NOT_IN_TIME_WINDOWS": "1.3.6.1.6.3.15.1.1.2.0",
        "UNKNOWN_USER_NAMES": "1.3.6.1.6.3.15.1.1.3.0",
        "UNKNOWN_ENGINE_IDS": "1.3.6.1.6.3.15.1.1.4.0",
        "WRONG_DIGESTS": "1.3.6.1.6.3.15.1.1.5.0",
        "DECRYPTION_ERRORS": "1.3.6.1.6.3.15.1.1.6.0",
    }
