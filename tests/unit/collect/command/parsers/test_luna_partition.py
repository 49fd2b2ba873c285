from __future__ import annotations

import pytest

from hsm_agent.collect.command.parsers.luna_partitions import parse_partitions
from hsm_agent.collect.command.parsers.text import Malformed
from hsm_agent.collect.identity import ObjectIdentity
from tests.unit.collect.shell_samples import labels, read, reasons, sample, values


def test_two_partitions() -> None:
    parsed = read("partition_show")

    assert values(parsed, "payments") == {
        "token_present": 1,
        "token_storage_total_bytes": 324_096,
        "token_storage_used_bytes": 81_024,
        "token_storage_free_bytes": 243_072,
        "token_storage_used_percent": 25.0,
        "token_objects": 212,
        "token_zeroized so": 0,
        "token_login_attempts_left so": 10,
        "token_role_locked crypto_officer": 0,
        "token_login_attempts_left crypto_officer": 8,
        "token_role_locked crypto_user": 1,
        "token_login_attempts_left crypto_user": 0,
        "token_info": 1,
    }
    assert values(parsed, "archive")["token_objects"] == 6
    assert values(parsed, "archive")["token_login_attempts_left so"] == 9
    assert labels(parsed, "token_info", "payments") == {
        "label": "payments-live",
        "name": "payments",
        "serial": "700123011",
    }
    assert parsed.whole
    assert reasons(parsed) == {}


def test_an_older_firmware_begins_with_the_serial_number_and_has_an_owner() -> None:
    found = values(read("partition_show_old"), "signing")

    assert found["token_login_attempts_left partition_owner"] == 0
    assert found["token_role_locked partition_owner"] == 1
    assert found["token_storage_total_bytes"] == 108_160


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_without_the_shells_last_line_nobody_knows_whether_there_are_more(end: str) -> None:
    text = sample("partition_show").split("Command Result")[0].replace("\n", end)

    assert not parse_partitions(text).whole


def test_where_the_line_between_two_partitions_is_lost_neither_is_believed() -> None:
    text = sample("partition_show").replace("   Partition Name:                            archive\n", "")
    parsed = parse_partitions(text)

    assert values(parsed, "payments") == {
        "token_present": 1,
        **dict.fromkeys(
            [name for name in values(read("partition_show"), "payments") if name not in {"token_present", "token_info"}]
        ),
    }
    assert all("stands twice" in reason for reason in reasons(parsed).values())
    assert values(parsed, "archive") == {}


def test_a_name_that_is_blank_gives_way_to_label_and_serial_number() -> None:
    text = sample("partition_show_old").replace("signing", "")

    assert values(parse_partitions(text), "512345678")["token_objects"] == 1


@pytest.mark.parametrize(
    ("before", "after", "metric", "said"),
    [
        ("Total=324096, Used=1232, Free=322864", "Total=324096", "token_storage_used_percent", "no Total, Used and Free"),
        ("Used=1232,", "Used=999999,", "token_storage_used_bytes", "cannot be"),
        ("Count:                    6", "Count: six", "token_objects", "Partition Object Count: six"),
        ("9 before", "few before", "token_login_attempts_left so", "few before Partition SO"),
        ("Zeroized:                     no\n   Partition SO Login Attempts Left:          9",
         "Zeroized: ?\n   Partition SO Login Attempts Left: 9", "token_zeroized so", "neither yes nor no"),
    ],
)  # fmt: skip
def test_a_field_that_does_not_fit_has_no_value_and_shows_the_line(
    before: str, after: str, metric: str, said: str
) -> None:
    text = sample("partition_show")
    assert before in text
    parsed = parse_partitions(text.replace(before, after))

    assert said in reasons(parsed)[metric]
    assert values(parsed, "payments")["token_objects"] == 212


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no partitions here\n", "this is not what partition show prints: it says: no partitions here"),
        (sample("partition_show").replace("Name:                            archive", "Name: payments").replace("SN:", "Number:"), "two partitions are called 'payments'"),
        ("Partition Name:\nPartition Object Count: 3\n", "the output names no partition"),
        (sample("refused"), "the device refused"),
    ],
)  # fmt: skip
def test_an_output_that_is_none_fails_as_a_whole(text: str, said: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_partitions(text)

    assert said in str(caught.value)


def test_a_partition_whose_name_was_cut_off_does_not_become_another_one() -> None:
    text = sample("partition_show_old").replace("\tPartition Name:                         signing\n", "")
    two = parse_partitions(f"{sample('partition_show_old')}{text}")

    assert {fact.resource for fact in two.facts} == {"signing"}
    assert not two.whole
    with pytest.raises(Malformed, match="the output names no partition"):
        parse_partitions(text)


def test_two_partitions_of_one_name_are_told_apart_by_serial_number() -> None:
    parsed = parse_partitions(
        sample("partition_show").replace("Name:                            archive", "Name: payments")
    )

    assert values(parsed, "payments")["token_objects"] == 212
    assert values(parsed, "700123012")["token_objects"] == 6
    assert parsed.tokens == {
        "payments": ObjectIdentity("payments", "700123011"),
        "700123012": ObjectIdentity("payments", "700123012"),
    }
    assert parsed.whole


def test_what_stands_behind_a_nul_is_no_part_of_a_name() -> None:
    parsed = parse_partitions(sample("partition_show").replace("payments\n", "payments\0\0rubbish\n"))

    assert {fact.resource for fact in parsed.facts} == {"payments", "archive"}


@pytest.mark.parametrize(
    "lost",
    [
        "   Partition Name:                            payments\n",
        "   Partition Name:                            archive\n",
    ],
)
def test_where_the_line_is_lost_that_begins_a_partition_nobody_is_declared_gone(lost: str) -> None:
    """Its other lines stand among another one's, or before the first."""
    text = sample("partition_show")
    assert lost in text

    assert not parse_partitions(text.replace(lost, "")).whole
    assert not parse_partitions(
        text.replace(lost, "").replace("   Partition SN:                              700123011\n", "")
    ).whole


def test_a_number_that_overflowed_is_none() -> None:
    found = reasons(
        parse_partitions(sample("partition_show").replace("Count:                    212", "Count: -2147483436"))
    )

    assert found["token_objects"] == "no number as expected: Partition Object Count: -2147483436"


def test_a_name_that_stands_twice_is_no_second_partition() -> None:
    line = "   Partition Name:                            archive\n"
    parsed = parse_partitions(sample("partition_show").replace(line, line * 2))

    assert parsed.tokens == {
        "payments": ObjectIdentity("payments", "700123011"),
        "archive": ObjectIdentity("archive", "700123012"),
    }
    assert not parsed.whole
