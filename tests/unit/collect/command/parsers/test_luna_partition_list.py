from __future__ import annotations

import pytest

from hsm_agent.collect.command.parsers.luna_partitions import parse_partition_list
from hsm_agent.collect.command.parsers.text import Malformed
from hsm_agent.collect.identity import ObjectIdentity
from tests.unit.collect.shell_samples import labels, read, reasons, sample, values

HEAD = "Partition  Name  Objects  Total  Used  Free\n=====\n"
DONE = "\nCommand Result : 0 (Success)\n"


def test_a_table_of_three_partitions() -> None:
    parsed = read("partition_list")

    assert values(parsed, "code signing 2") == {
        "token_present": 1,
        "token_objects": 3,
        "token_storage_total_bytes": 207_559,
        "token_storage_used_bytes": 3464,
        "token_storage_free_bytes": 204_095,
        "token_storage_used_percent": 100 * 3464 / 207_559,
        "token_info": 1,
    }
    assert values(parsed, "payments")["token_storage_used_percent"] == 0
    assert labels(parsed, "token_info", "archive") == {"name": "archive", "serial": "500881013"}
    assert parsed.tokens["code signing 2"] == ObjectIdentity("code signing 2", "500881012")
    assert parsed.whole
    assert reasons(parsed) == {}


@pytest.mark.parametrize(
    ("head", "row"),
    [
        pytest.param("Partition\tName\tObjects\tTotal\tUsed\tFree", "5\tweb 1\t7\t100\t40\t60", id="tabs"),
        pytest.param("Partition Name Objects Total Used Free", "5 web 1 7 100 40 60", id="set close"),
        pytest.param("Serial Number   Partition Name   Object Count   Total   Used   Free", "5  web  1  7 100 40 60", id="two words"),
        pytest.param("Name    Partition SN   Total   Used   Free   Objects", "web 1   5   100 40 60 7", id="another order"),
        pytest.param("Partition   Label   Objects   Total (bytes)   Used (bytes)   Free (bytes)", "5 web 1 7 100 40 60", id="units"),
        pytest.param("PARTITION  NAME  OBJECTS  TOTAL  USED  FREE", " 5   web 1 7  100\t40 60  ", id="capitals"),
    ],
)  # fmt: skip
def test_columns_are_known_by_their_headings(head: str, row: str) -> None:
    parsed = parse_partition_list(f"{head}\n-----\n{row}\n{DONE}")

    found = values(parsed, "web 1")
    assert (found["token_objects"], found["token_storage_used_percent"]) == (7, 40)
    assert parsed.tokens == {"web 1": ObjectIdentity("web 1", "5")}


def test_a_table_without_numbers_of_partitions_or_of_objects() -> None:
    parsed = parse_partition_list(f"Partition  Total  Used  Free\nweb 1  100  40  60\n{DONE}")

    assert "token_objects" not in values(parsed, "web 1")
    assert values(parsed, "web 1")["token_storage_free_bytes"] == 60
    assert parsed.tokens == {"web 1": ObjectIdentity("web 1", "")}


def test_a_column_that_is_missing_leaves_no_percentage() -> None:
    parsed = parse_partition_list(f"Partition  Name  Objects  Total  Used\n5  web  1  100  40\n{DONE}")

    assert values(parsed, "web")["token_storage_used_bytes"] == 40
    assert reasons(parsed) == dict.fromkeys(
        ("token_storage_free_bytes", "token_storage_used_percent"), "the table has no column 'free'"
    )


def test_a_partition_without_a_name_goes_by_its_number_and_two_of_one_name_are_two() -> None:
    parsed = parse_partition_list(f"{HEAD}5    1 100 40 60\n6 web 2 100 40 60\n7 web 3 100 40 60\n{DONE}")

    assert parsed.tokens == {
        "5": ObjectIdentity("", "5"),
        "web": ObjectIdentity("web", "6"),
        "7": ObjectIdentity("web", "7"),
    }
    assert values(parsed, "7")["token_objects"] == 3


@pytest.mark.parametrize(
    "text",
    [
        HEAD + DONE,
        "\n" + DONE + "There are no partitions on this HSM.\n",
        f"No partitions found.\n{DONE}",
        f"0 partitions\n{DONE}",
        f"No application partitions have been created.\n{DONE}",
    ],
)
def test_no_partition_at_all_is_an_answer(text: str) -> None:
    parsed = parse_partition_list(text)

    assert (parsed.facts, parsed.whole) == ((), True)


def test_an_output_without_its_last_line_leaves_it_open_whether_all_are_there() -> None:
    parsed = parse_partition_list(sample("partition_list").replace("Command Result : 0 (Success)\n", ""))

    assert not parsed.whole
    assert len(parsed.tokens) == 3


@pytest.mark.parametrize(
    "row", ["5 web 1 100 - 60", "5 web 100 40 60", "5 web", "5", "5 web 1 100 40 6O", "5 web 1 100 40 -60"]
)
def test_a_row_unlike_the_head_is_its_partition_without_figures(row: str) -> None:
    parsed = parse_partition_list(f"{HEAD}{row}\n6 code 1 100 40 60\n{DONE}")

    assert {*reasons(parsed).values()} == {f"a row unlike the table's head: {row}"}
    assert values(parsed, "5") == {
        "token_present": 1,
        "token_objects": None,
        **dict.fromkeys((f"token_storage_{name}_bytes" for name in ("total", "used", "free")), None),
        "token_storage_used_percent": None,
    }
    assert values(parsed, "code")["token_storage_used_percent"] == 40
    assert parsed.tokens["5"] == ObjectIdentity("", "5", is_partial=True)
    assert parsed.whole


def test_a_line_that_may_be_a_partition_and_says_not_whose_leaves_it_open() -> None:
    parsed = parse_partition_list(f"{HEAD}5 web 1 100 40 60\ncode 2 100 40 60\n{DONE}")

    assert [*parsed.tokens] == ["web"]
    assert not parsed.whole


def test_figures_that_contradict_are_none() -> None:
    found = reasons(parse_partition_list(f"{HEAD}5 web 1 100 40 61\n6 code 1 0 0 0\n{DONE}"))

    assert found["token_storage_total_bytes"] == "40 bytes used and 61 free of 100 cannot be"
    assert found["token_storage_used_percent"] == "the size is 0"


def test_a_partition_that_stands_twice_has_figures_if_they_are_the_same() -> None:
    row = "5 web 1 100 40 60\n"
    assert reasons(parse_partition_list(HEAD + row + row + DONE)) == {}

    found = reasons(parse_partition_list(f"{HEAD}{row}5 web 1 100 41 59\n{DONE}"))
    assert {*found.values()} == {"stands twice with different values: 5 web 1 100 41 59"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "this is not what partition list prints: it is empty"),
        ("Partition  Name  Colour  Total\n5 web red 1\n" + DONE, "this is not what partition list prints: it says: Partition"),
        (HEAD.replace("Total  Used", "Used  Used") + DONE, "this is not what partition list prints"),
        ("There are no partitions.\n", "this is not what partition list prints"),
        ("Storage (KB)\n" + HEAD + DONE, "storage is not given in bytes: Storage (KB)"),
        ("Partition  Total  Used  Free\nweb 100 40 60\nweb 100 41 59\n" + DONE.replace("0", "5"), "the device refused"),
        (sample("refused"), "the device refused: Error: 'hsm show' is not allowed now."),
    ],
)  # fmt: skip
def test_an_output_that_is_none_fails_as_a_whole(text: str, said: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_partition_list(text)

    assert said in str(caught.value)
