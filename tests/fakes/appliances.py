"""What appliances of each profile answer, as records of snmpsim; made from documentation, not from any real device."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.peers.snmpsim import Record

SERIAL, PARTITION, SPARE = "535000", "1238700701500", "1238700701511"


def text_index(*words: str) -> str:
    """An index of texts, each with its length before it."""
    return ".".join(".".join(map(str, (len(word), *word.encode()))) for word in words)


def _table(entry: str, index: str, columns: dict[int, tuple[str, object]]) -> Iterator[Record]:
    for column, (tag, value) in columns.items():
        yield (f"{entry}.{column}.{index}", tag, str(value))


def luna(*, up: int = 864000, busy: int = 86400, used: int = 1000000) -> list[Record]:
    hsm = {
        1: ("4", SERIAL),
        2: ("4", "7.4.0"),
        3: ("4", "hsm-a"),
        4: ("4", "Luna K7"),
        5: ("2", 3),
        6: ("2", 3),
        7: ("2", 1),
        8: ("2", 15),
        9: ("66", 33554432),
        10: ("66", 33554432),
        11: ("66", 0),
        12: ("66", 20),
        13: ("66", 2),
        14: ("66", 18),
        15: ("2", 3),
        16: ("65", 3),
        17: ("2", 1),
        18: ("2", 2),
        19: ("70", up),
        20: ("70", busy),
        21: ("70", 4711),
    }
    partition = {
        1: ("4", PARTITION),
        2: ("4", "keys"),
        3: ("2", 1),
        4: ("66", 2000000),
        5: ("66", used),
        6: ("66", 2000000 - used),
        7: ("66", 120),
    }
    spare = {**partition, 1: ("4", SPARE), 2: ("4", ""), 3: ("2", 2), 7: ("66", 0)}
    root = "1.3.6.1.4.1.23629.1.5.1"
    return [
        *_table(f"{root}.2.1", text_index(SERIAL), hsm),
        *_table(f"{root}.4.1", text_index(SERIAL, PARTITION), partition),
        *_table(f"{root}.4.1", text_index(SERIAL, SPARE), spare),
    ]


def luna_legacy(expires: str = "Dec 31 23:59:59 2030 GMT") -> list[Record]:
    root = "1.3.6.1.4.1.12383.3.1"
    return [
        (f"{root}.1.1.0", "70", "3858380"),
        (f"{root}.1.2.0", "70", "385838"),
        (f"{root}.1.3.0", "70", "0"),
        (f"{root}.1.4.0", "70", "5"),
        (f"{root}.2.1.0", "2", "1"),
        (f"{root}.2.2.0", "66", "4"),
        (f"{root}.2.3.0", "66", "6"),
        (f"{root}.2.4.0", "70", "120"),
        (f"{root}.2.5.0", "70", "2"),
        (f"{root}.2.6.0", "4", expires),
    ]


def utimaco(*, mode: str = "OPERATIONAL", battery: str = "OK", clock: str = "2026-01-01 00:00:00") -> list[Record]:
    root = "1.3.6.1.4.1.3159.1"
    hsm = {
        1: ("2", 1),
        2: ("4", "PCI:0"),
        3: ("4", mode),
        4: ("4", "INITIALIZED"),
        5: ("2", 41),
        6: ("4", "41 C"),
        7: ("2", 0),
        8: ("4", "4.0.1.0"),
        9: ("4", "CS123456"),
        10: ("4", battery),
        11: ("4", clock),
        12: ("4", "OK"),
    }
    return [
        (f"{root}.1.1.0", "4", "4.5.2"),
        (f"{root}.1.2.0", "4", "CSLAN77"),
        (f"{root}.1.3.0", "4", "OK"),
        (f"{root}.1.4.0", "4", clock),
        (f"{root}.1.5.0", "2", "12"),
        (f"{root}.1.6.0", "2", "3"),
        (f"{root}.1.7.0", "2", "1"),
        *_table(f"{root}.1.8.1", "1", {1: ("2", 1), 2: ("2", 5400)}),
        *_table(f"{root}.1.8.1", "2", {1: ("2", 2), 2: ("2", 5300)}),
        (f"{root}.1.9.0", "4", "OK"),
        (f"{root}.1.10.0", "2", "55"),
        *_table(f"{root}.2.1", "1", hsm),
    ]


def nshield(*, mode: int = 1) -> list[Record]:
    root = "1.3.6.1.4.1.7682.2"
    return [
        (f"{root}.2.0", "2", "2"),
        (f"{root}.50.1.0", "2", "1"),
        (f"{root}.50.2.0", "2", "2"),
        *_table(f"{root}.50.50.1", "1", {2: ("2", mode), 15: ("2", 2)}),
        *_table(f"{root}.50.50.1", "2", {2: ("2", 8), 15: ("2", 5)}),
        (f"{root}.51.3.0", "65", "1000"),
        (f"{root}.51.4.0", "65", "90000"),
        (f"{root}.51.5.0", "65", "7"),
        (f"{root}.51.6.0", "65", "1000"),
        (f"{root}.51.7.0", "65", "90000"),
        (f"{root}.51.8.0", "65", "9"),
    ]


def primekey(*, status: str = "0", external: str = "absence") -> list[Record]:
    root = "1.3.6.1.4.1.22408.1.1.2"
    hsm, fan = f"{root}.2.4.104.115.109", f"{root}.1.4.102.97.110"
    return [
        (f"{root}.1.2.118.109.1", "4", "0"),
        (f"{root}.1.3.99.112.117.1", "4", "48.5"),
        (f"{fan}.49.1", "4", "1200"),
        (f"{fan}.50.1", "4", "4100 RPM"),
        (f"{fan}.51.1", "4", "4000"),
        (f"{fan}.52.1", "4", "4050"),
        (f"{fan}.53.1", "4", "0"),
        (f"{fan}.54.1", "4", "1"),
        (f"{root}.1.4.118.100.98.49.1", "4", "23"),
        (f"{root}.1.5.108.111.97.100.51.1", "4", "0.42"),
        (f"{root}.1.5.114.97.105.100.49.1", "4", "0"),
        (f"{hsm}.51.1", "4", status),
        (f"{hsm}.52.1", "4", "3.1 V"),
        (f"{hsm}.53.1", "4", "0"),
        (f"{hsm}.55.1", "4", external),
        (f"{hsm}.57.1", "4", "17"),
    ]


def net_snmp_host(
    *,
    disks: Iterable[tuple[str, int, int]] = (("/", 1000, 250), ("/var", 2000, 1900)),
    links: Iterable[tuple[str, int, int, int]] = (("lo", 24, 1, 1), ("eth0", 6, 1, 1)),
) -> list[Record]:
    """`links` are name, ifType, ifAdminStatus and ifOperStatus."""
    storage, interfaces = "1.3.6.1.2.1.25.2.3.1", "1.3.6.1.2.1.31.1.1.1"
    sensors = "1.3.6.1.4.1.2021.13.16"
    records: list[Record] = [
        ("1.3.6.1.2.1.25.1.1.0", "67", "360000"),
        ("1.3.6.1.2.1.25.3.3.1.2.196608", "2", "7"),
        ("1.3.6.1.2.1.25.3.3.1.2.196609", "2", "93"),
        ("1.3.6.1.4.1.2021.10.1.5.2", "2", "42"),
        ("1.3.6.1.4.1.2021.4.5.0", "2", "8000000"),
        ("1.3.6.1.4.1.2021.4.6.0", "2", "1000000"),
        ("1.3.6.1.4.1.2021.4.14.0", "2", "500000"),
        ("1.3.6.1.4.1.2021.4.15.0", "2", "2500000"),
        *_table(
            storage, "1", {2: ("6", "1.3.6.1.2.1.25.2.1.2"), 3: ("4", "Physical memory"), 5: ("2", 9), 6: ("2", 8)}
        ),
        *_table(f"{sensors}.2.1", "1", {1: ("2", 1), 2: ("4", "CPU"), 3: ("66", 47500)}),
        *_table(f"{sensors}.2.1", "2", {1: ("2", 2), 2: ("4", "Inlet"), 3: ("66", 2**32 - 2500)}),
        *_table(f"{sensors}.3.1", "3", {1: ("2", 3), 2: ("4", "Fan1A"), 3: ("66", 6200)}),
        *_table(f"{sensors}.4.1", "4", {1: ("2", 4), 2: ("4", "+5V"), 3: ("66", 5040)}),
    ]
    for index, (place, size, used) in enumerate(disks, 31):
        row = {2: ("6", "1.3.6.1.2.1.25.2.1.4"), 3: ("4", place), 5: ("2", size), 6: ("2", used)}
        records += _table(storage, str(index), row)
    for index, (name, kind, wanted, real) in enumerate(links, 1):
        records += _table(interfaces, str(index), {1: ("4", name), 6: ("70", index * 10**12), 10: ("70", index)})
        row = {2: ("4", f"{name} card"), 3: ("2", kind), 7: ("2", wanted), 8: ("2", real)}
        records += _table("1.3.6.1.2.1.2.2.1", str(index), row)
    return records
