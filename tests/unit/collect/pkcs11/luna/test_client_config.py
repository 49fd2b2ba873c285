"""HA groups as a Luna client's configuration has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm_agent.collect.pkcs11.luna_ha import (
    ClientConfig,
    HaGroup,
    client_config_path,
    parse_client_config,
    warnings,
    watched_alone,
)

CONFIGURATION = """
Chrystoki2 = {
   LibUNIX64 = /usr/safenet/lunaclient/lib/libCryptoki2_64.so;
}
Luna = {
  DefaultTimeOut = 500000;
}
VirtualToken = {
   VirtualToken00Label = payments-ha;
   VirtualToken00SN = 11238700701509;
   VirtualToken00Members = 1238700701509, 1238700701510;
   VirtualToken01Label = archive-ha;
   VirtualToken01SN = 11238700701600;
   VirtualToken01Members = 1238700701600;
   VirtualTokenActiveRecovery = activeEnhanced;
}
HAConfiguration = {
   reconnAtt = -1;
   HAOnly = %d;
}
"""
PAYMENTS = HaGroup(label="payments-ha", serial="11238700701509", members=("1238700701509", "1238700701510"))
ARCHIVE = HaGroup(label="archive-ha", serial="11238700701600", members=("1238700701600",))
LUNA = Path("/usr/safenet/lunaclient/lib/libCryptoki2_64.so")


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_groups_are_read(ending: str) -> None:
    text = (CONFIGURATION % 0).replace("\n", ending)

    assert parse_client_config(text) == ClientConfig(groups=(PAYMENTS, ARCHIVE), ha_only=False)
    assert parse_client_config(CONFIGURATION % 1).ha_only


@pytest.mark.parametrize("text", ["", "VirtualToken = {", "VirtualToken = { }", "= { ; }", "[VirtualToken]\nx=1\n"])
def test_what_has_no_groups_has_none(text: str) -> None:
    assert parse_client_config(text) == ClientConfig(groups=(), ha_only=False)


@pytest.mark.parametrize(
    ("tokens", "alone"),
    [
        (["payments-ha"], [PAYMENTS]),
        (["11238700701509"], [PAYMENTS]),
        (["payments-ha", "archive-ha"], [PAYMENTS, ARCHIVE]),
        (["payments-ha", "1238700701510"], []),
        (["payments-ha", "payments-a"], []),
        (["*"], []),
        (["payments*"], []),
    ],
)
def test_a_group_is_watched_alone_where_nothing_else_can_be_meant(tokens: list[str], alone: list[HaGroup]) -> None:
    assert watched_alone(parse_client_config(CONFIGURATION % 0), tokens) == alone


@pytest.mark.parametrize(("tokens", "alone"), [(["*"], [PAYMENTS, ARCHIVE]), (["archive*"], [ARCHIVE]), (["x"], [])])
def test_a_client_that_shows_groups_only_has_them_alone(tokens: list[str], alone: list[HaGroup]) -> None:
    assert watched_alone(parse_client_config(CONFIGURATION % 1), tokens) == alone


def test_the_file_is_where_the_client_looks_for_it() -> None:
    assert client_config_path(LUNA, {}) == Path("/etc/Chrystoki.conf")
    assert client_config_path(LUNA, {"ChrystokiConfigurationPath": "/etc/luna"}) == Path("/etc/luna/Chrystoki.conf")
    assert client_config_path(Path("/usr/lib/softhsm/libsofthsm2.so"), {}) is None


def test_the_warning_names_the_group_and_its_members(tmp_path: Path) -> None:
    environment = {"ChrystokiConfigurationPath": str(tmp_path)}
    assert warnings(LUNA, environment, ["payments-ha"]) == []

    (tmp_path / "Chrystoki.conf").write_text(CONFIGURATION % 0, encoding="ascii")
    assert warnings(LUNA, environment, ["payments-ha"]) == [
        (
            "warning: payments-ha is an HA group and none of its members' own slots (1238700701509, 1238700701510) is "
            "watched: a full member is not seen"
        )
    ]
    (tmp_path / "Chrystoki.conf").write_text(CONFIGURATION % 1, encoding="ascii")
    (_, archive) = warnings(LUNA, environment, ["*"])
    assert archive.endswith(f"; {tmp_path}/Chrystoki.conf has HAOnly = 1, which hides them")


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "Chrystoki.conf").mkdir()

    (line,) = warnings(LUNA, {"ChrystokiConfigurationPath": str(tmp_path)}, ["payments-ha"])
    assert line.startswith(f"warning: {tmp_path}/Chrystoki.conf: Is a directory: ")
