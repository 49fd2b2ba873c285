"""What setup asks a person, and what it does with the answers; and in whose name it works."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from hsm_agent.cli.setup.account import NoAccountError, group_name, service_account, trusting
from hsm_agent.cli.setup.look import look_at
from hsm_agent.cli.setup.places import named_module
from hsm_agent.cli.setup.run import SetupRun
from hsm_agent.cli.setup.wishes import (
    SYSTEM_CERTIFICATES,
    WishError,
    Wishes,
    chosen_server,
    chosen_sinks,
    chosen_sources,
)
from hsm_agent.cli.setup.writing import make_folder, make_state_directory, write
from hsm_agent.settings.trust import TRUSTED_UIDS
from tests.unit.cli.test_setup_plan import OWN, installed, options, plan, seen

if TYPE_CHECKING:
    from collections.abc import Callable


def asked(work: Callable[[], Any], typed: str) -> tuple[Any, str]:
    """What comes of the answers, and what was shown."""
    found = []

    @click.command()
    def verb() -> None:
        found.append(work())

    result = CliRunner().invoke(verb, input=typed, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return found[0], result.output


def test_modules_are_chosen_by_number() -> None:
    modules = [seen("/a/libsofthsm2.so", "p"), seen("/b/libcknfast.so", "q"), seen("/c/libx.so", "r")]
    chosen, shown = asked(lambda: chosen_sources(Wishes(options(yes=False)), modules), "4\nx\n3, 1\n*\n")

    assert [source.name for source in chosen] == ["x", "softhsm"]
    assert shown.count("numbers from 1 to 3, or all") == 2


def test_no_token_at_all_is_not_watched_for() -> None:
    chosen, shown = asked(lambda: chosen_sources(Wishes(options(yes=False)), [seen("/a/x.so", "p")]), ", ,\npay*,\n")

    assert [source.tokens for source in chosen] == [("pay*",)]
    assert "* is all" in shown
    [given] = chosen_sources(Wishes(options(token=("a, b",))), [seen("/a/x.so", "a, b")])
    assert given.tokens == ("a, b",)
    with pytest.raises(WishError, match="--token: name a label"):
        chosen_sources(Wishes(options(token=("",))), [seen("/a/x.so", "p")])


def test_all_modules_are_the_default() -> None:
    modules = [seen("/a/libsofthsm2.so", "p"), seen("/b/libcknfast.so", "q")]
    chosen, _ = asked(lambda: chosen_sources(Wishes(options(yes=False)), modules), "\npay*, sign\n")

    assert [source.tokens for source in chosen] == [("pay*", "sign"), ("pay*", "sign")]


@pytest.fixture
def own_ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file `ca.pem` in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ca.pem").touch()
    return tmp_path / "ca.pem"


def test_receivers_are_asked_for_one_after_the_other(own_ca: Path) -> None:
    wishes = Wishes(options(yes=False))
    host_ca = next((name for name in SYSTEM_CERTIFICATES if Path(name).is_file()), "")
    answers = [
        "udp:192.0.2.1:162",
        "v2c",
        "trap",
        "public",
        "relp+tls:192.0.2.2:2514",
        "ca.pem",
        "https://192.0.2.3",
        "",
    ]
    sinks, shown = asked(lambda: chosen_sinks(wishes), "\n".join([*answers, ""]))

    assert [(sink["name"], sink.get("type"), sink.get("tls")) for sink in sinks] == [
        ("noc", "trap", None),
        ("siem", None, {"ca": str(own_ca)}),
        ("alertmanager", None, {"ca": host_ca} if host_ca else None),
    ]
    assert [(secret.name, secret.value, secret.is_made) for secret in wishes.secrets] == [
        ("noc.community", "public", False),
    ]  # fmt: skip
    assert "public" not in shown


def test_what_will_not_do_is_asked_again_at_once(own_ca: Path) -> None:
    answers = [
        *("nonsense", "udp:192.0.2.1:99999", "udp:192.0.2.1:162", "v9", "v3", "informs", "inform", "", "", ""),
        *("http://x", "tls:192.0.2.2:6514", "none.pem", "ca.pem", "192.0.2.3", "http://192.0.2.3:9093"),
    ]
    sinks, shown = asked(lambda: chosen_sinks(Wishes(options(yes=False))), "\n".join([*answers, ""]))

    assert [sink["to"] for sink in sinks] == ["udp:192.0.2.1:162", "tls:192.0.2.2:6514", "http://192.0.2.3:9093"]
    for told in (
        "not an address: 'nonsense'",
        "not a port: 99999",
        "v3 or v2c\n",
        "none.pem: no such file",
        "not a URL",
    ):
        assert told in shown


def test_a_ca_that_was_given_stands_with_its_whole_path(own_ca: Path) -> None:
    [sink] = chosen_sinks(Wishes(options(syslog_sink="tls:192.0.2.2:6514", tls_ca=Path("ca.pem"))))

    assert sink["tls"] == {"ca": str(own_ca)}


def test_a_manager_that_may_read_is_asked_for() -> None:
    wishes = Wishes(options(yes=False))
    server, _ = asked(lambda: chosen_server(wishes), "nms\nudp:192.0.2.9:161\n\n\n")

    assert server["listen"] == ["udp:192.0.2.9:161"]
    assert [secret.is_made for secret in wishes.secrets] == [True, True]


def test_a_secret_that_lies_open_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "open"
    file.write_text("authentication")
    file.chmod(0o644)

    with pytest.raises(WishError, match="others can read or write it"):
        chosen_sinks(Wishes(options(snmp_sink="udp:192.0.2.1:162", snmp_auth_file=file)))


def test_files_cannot_be_given_to_an_account_that_is_not_there() -> None:
    with pytest.raises(NoAccountError, match=r"--user nobody-at-all: "):
        service_account("nobody-at-all")


def test_a_group_without_a_name_is_its_number() -> None:
    assert group_name(4_000_000_000) == "4000000000"


def test_a_user_trusts_himself_and_root_nobody_else() -> None:
    found = trusting(OWN, {})

    assert found == ({TRUSTED_UIDS: str(os.geteuid())} if os.geteuid() else {})
    assert trusting(OWN, {TRUSTED_UIDS: "12"})[TRUSTED_UIDS].split(",")[0] == "12"


def test_a_module_that_others_could_change_is_not_loaded(tmp_path: Path) -> None:
    installed(tmp_path, "/lib/libx.so")
    (tmp_path / "lib").chmod(0o777)
    modules = [named_module(tmp_path / "lib" / "libx.so", {}), named_module(tmp_path / "gone" / "liby.so", {})]
    changed, gone = look_at(modules, OWN, frozenset({0, os.geteuid()}), seconds=1)

    assert "can be written by others" in changed.failure
    assert "No such file" in gone.failure


def test_a_folder_in_the_place_of_a_file_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    made = plan(Wishes(options(snmp_reader="nms")), seen("/usr/lib/x.so", "p"), state_directory="/var/x")
    (tmp_path / "etc" / "secrets" / "nms.priv").mkdir(parents=True)

    with pytest.raises(IsADirectoryError):
        write(made, tmp_path / "etc", OWN)

    assert sorted(path.name for path in (tmp_path / "etc" / "secrets").iterdir()) == ["nms.priv"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
def test_all_files_are_written_or_none(error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(Wishes(options(snmp_reader="nms")), seen("/usr/lib/x.so", "p"), state_directory="/var/x")
    write(made, tmp_path / "etc", OWN)
    before = {path: path.read_bytes() for path in (tmp_path / "etc").rglob("*") if path.is_file()}
    written: list[int] = []

    def full(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) == 3:
            raise error

    monkeypatch.setattr(os, "fsync", full)
    again = plan(Wishes(options(snmp_reader="nms")), seen("/usr/lib/y.so", "p"), state_directory="/var/y")
    with pytest.raises(type(error)) as caught:
        write(again, tmp_path / "etc", OWN)

    assert {path: path.read_bytes() for path in (tmp_path / "etc").rglob("*") if path.is_file()} == before
    assert getattr(caught.value, "filename", "agent.yaml").endswith("agent.yaml")


def test_a_folder_that_others_could_change_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    run = SetupRun(options(to=tmp_path / "shared" / "etc"))
    with pytest.raises(SystemExit), redirect_stderr(StringIO()) as told:
        run.run()

    assert "can be written by others" in told.getvalue()
    assert not (tmp_path / "shared" / "etc").exists()


def test_folders_above_are_open_to_the_agent_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        make_folder(tmp_path / "a" / "b", OWN)
    finally:
        os.umask(before)

    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b")] == [0o755, 0o700]


def test_the_configuration_that_was_there_is_kept(tmp_path: Path) -> None:
    made = plan(Wishes(options()), seen("/usr/lib/x.so", "p"), state_directory="/var/x")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "agent.yaml").write_text("mine")
    write(made, tmp_path / "etc", OWN)

    assert (tmp_path / "etc" / "agent.yaml.old").read_text() == "mine"


def test_a_state_directory_is_made_once_and_private(tmp_path: Path) -> None:
    make_state_directory(tmp_path / "a" / "var", OWN)
    (tmp_path / "a" / "var" / "x").write_text("")
    make_state_directory(tmp_path / "a" / "var", OWN)

    assert (tmp_path / "a" / "var").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a" / "var" / "x").exists()
