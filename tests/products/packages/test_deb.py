"""The life of a .deb: installed in a bare Debian, run, upgraded with an alarm raised and a notification waiting, purged."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from hsm_agent.version import VERSION
from tests.products.packages.bare_debian import MADE, WORK, BareDebian, apt_install, bare_debian, made

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SUITES = {"bookworm": "deb12", "trixie": "deb13"}
CONFIGURATION = "/etc/hsm-agent/agent.yaml"
UPTIME = "1.3.6.1.2.1.1.3.0"
WATCHED = """sources:
  - name: token
    kind: pkcs11
    module: /usr/lib/softhsm/libsofthsm2.so
    environment: {SOFTHSM2_CONF: /var/lib/hsm-agent/softhsm2.conf}
    every: 1s
  - {name: dates, kind: declared, every: 1s, dates: [{name: support, kind: expiry, date: 2020-01-01}]}
"""
TOLD = """deliver:
  - {name: gone, kind: snmp, to: "udp:127.0.0.1:9", version: v2c, type: inform, community: {file: secrets/community}}
"""
# What stays after a purge: the account, and what Debian itself keeps of any package.
LEFT = ("/var/lib/dpkg/", "/var/log/", "/var/cache/", "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow")


def _status_of(bare: BareDebian, name: str) -> tuple[str, str]:
    """Mode, and owner and group by their names in there."""
    mode, owners = bare.run("stat", "--format=%a %U:%G", name).stdout.split()
    return mode, owners


def _until(found: Callable[[], Any], seconds: float = 40) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, "nothing was found in time"
        time.sleep(0.3)
    return value


def _asked(bare: BareDebian, *verb: str) -> Any:
    done = bare.run("hsm-agent", *verb, "--format", "json", check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def _alarms(bare: BareDebian) -> list[dict[str, Any]]:
    found = _asked(bare, "alarms", "list") or []
    return [alarm for alarm in found if alarm["rule"] == "declared-date"]


def _waiting(bare: BareDebian) -> list[dict[str, Any]]:
    return _asked(bare, "spool", "list") or []


def _answers_snmp(bare: BareDebian) -> bool:
    secrets = {
        name: bare.path(f"/etc/hsm-agent/secrets/nms.{name}").read_text(encoding="ascii") for name in ("auth", "priv")
    }
    user = [
        "-v3",
        "-l",
        "authPriv",
        "-u",
        "nms",
        "-a",
        "SHA-256",
        "-A",
        secrets["auth"],
        "-x",
        "AES",
        "-X",
        secrets["priv"],
    ]
    done = bare.from_outside("snmpget", *user, "-On", "127.0.0.1:1161", UPTIME)
    return done.returncode == 0 and "Timeticks" in done.stdout


def _metrics(bare: BareDebian) -> str:
    return bare.from_outside("curl", "-s", "http://127.0.0.1:9717/metrics").stdout


@pytest.fixture(params=SUITES)
def bare(request: pytest.FixtureRequest) -> Any:
    with bare_debian(request.param) as found:
        found.path("/packages").mkdir()
        number = SUITES[request.param]
        for which in ("old", "new"):
            shutil.copy(made(f"hsm-agent_*+{number}_amd64.deb", which), found.path(f"/packages/{which}.deb"))
        yield found


def _check_rights(bare: BareDebian) -> None:
    assert _status_of(bare, "/etc/hsm-agent") == ("750", "root:hsm-agent")
    assert _status_of(bare, CONFIGURATION) == ("640", "root:hsm-agent")
    assert _status_of(bare, "/etc/hsm-agent/secrets") == ("500", "hsm-agent:hsm-agent")
    assert _status_of(bare, "/etc/hsm-agent/secrets/nms.auth") == ("400", "hsm-agent:hsm-agent")
    assert _status_of(bare, "/var/lib/hsm-agent") == ("700", "hsm-agent:hsm-agent")
    writable = bare.run(
        "find", "/opt/hsm-agent", "(", "!", "-user", "root", "-o", "-perm", "/022", ")", "!", "-type", "l"
    )
    assert writable.stdout == ""


def _configure(bare: BareDebian) -> None:
    """As an operator does: a source, a sink, a secret; and a token of SoftHSM that is the account's."""
    path = bare.path(CONFIGURATION)
    text = path.read_text(encoding="utf-8")
    lines = {"sources: []": WATCHED, "deliver: []": TOLD}
    path.write_text(
        "\n".join(
            next((new for old, new in lines.items() if line.startswith(old)), line) for line in text.splitlines()
        ),
        encoding="utf-8",
    )
    secret = bare.path("/etc/hsm-agent/secrets/community")
    secret.write_text("0123456789abcdef", encoding="ascii")
    secret.chmod(0o400)
    bare.run("chown", "hsm-agent:hsm-agent", "/etc/hsm-agent/secrets/community")


def _make_token(bare: BareDebian) -> None:
    text = "directories.tokendir = /var/lib/hsm-agent/tokens\nobjectstore.backend = file\n"
    bare.path("/var/lib/hsm-agent/softhsm2.conf").write_text(text, encoding="ascii")
    bare.run("install", "-d", "-m", "0700", "-o", "hsm-agent", "-g", "hsm-agent", "/var/lib/hsm-agent/tokens")
    words = ("--init-token", "--free", "--label", "payments", "--so-pin", "12345678", "--pin", "12345678")
    bare.run("chown", "hsm-agent:", "/var/lib/hsm-agent/softhsm2.conf")
    bare.run_as_account("env", "SOFTHSM2_CONF=/var/lib/hsm-agent/softhsm2.conf", "softhsm2-util", *words)


def _kept(bare: BareDebian) -> dict[str, str]:
    """What an upgrade may not change, by content."""
    names = (CONFIGURATION, "/etc/hsm-agent/secrets/nms.auth", "/etc/hsm-agent/secrets/nms.priv")
    engine = json.loads(bare.path("/var/lib/hsm-agent/snmp-engine.json").read_text(encoding="utf-8"))
    return {"engine": str(engine["engine_id"])} | {name: bare.path(name).read_text(encoding="utf-8") for name in names}


def _run_first(bare: BareDebian) -> tuple[str, set[str]]:
    """The alarm that is raised, and what waits for the receiver that is gone."""
    with bare.agent():
        alarm = _until(lambda: _alarms(bare))[0]
        _until(lambda: _waiting(bare))
        _until(lambda: 'resource="payments"' in _metrics(bare))
        assert _answers_snmp(bare)
        return alarm["alarm_id"], {entry["event_id"] for entry in _waiting(bare)}


def _left_behind(bare: BareDebian) -> list[str]:
    found = bare.run("find", "/", "-xdev", "-name", "*hsm-agent*", "-not", "-path", "/packages/*").stdout.split()
    return [name for name in found if not name.startswith(LEFT)]


def test_a_package_is_installed_runs_is_upgraded_and_purged(bare: BareDebian) -> None:
    apt_install(bare.folder, "softhsm2")
    bare.run("dpkg", "-i", "/packages/old.deb")
    _check_rights(bare)
    checked = bare.run_as_account("hsm-agent", "check-config")
    assert (checked.stderr, "no sources" in checked.stdout) == ("", True)
    _configure(bare)
    _make_token(bare)
    alarm, waiting = _run_first(bare)
    before = _kept(bare)

    bare.run("dpkg", "--force-confold", "-i", "/packages/new.deb")

    assert _kept(bare) == before
    _check_rights(bare)
    assert VERSION in bare.run("hsm-agent", "--version").stdout.split()
    assert f"Version: {VERSION}" in bare.run("dpkg", "-s", "hsm-agent").stdout
    with bare.agent():
        assert [each["alarm_id"] for each in _until(lambda: _alarms(bare))] == [alarm]
        assert waiting <= {entry["event_id"] for entry in _until(lambda: _waiting(bare))}
        _until(lambda: 'resource="payments"' in _metrics(bare))
        assert _answers_snmp(bare)

    bare.run("dpkg", "--purge", "hsm-agent")

    bare.path("/agent.log").unlink()
    assert _left_behind(bare) == []
    assert "hsm-agent:" in bare.path("/etc/passwd").read_text(encoding="utf-8")


def test_a_new_package_passes_its_own_check_and_leaves_nothing_to_be_compiled(bare: BareDebian) -> None:
    bare.run("dpkg", "-i", "/packages/new.deb")
    _check_rights(bare)
    files = set(bare.run("find", "/opt/hsm-agent").stdout.split())

    checked = bare.run("env", "PYTHONPROFILEIMPORTTIME=", "hsm-agent", "check-config")
    bare.run("hsm-agent", "mib")

    assert (checked.returncode, checked.stderr) == (0, "")
    assert set(bare.run("find", "/opt/hsm-agent").stdout.split()) == files
    for name in ("/usr/share/man/man1/hsm-agent.1.gz", "/usr/share/bash-completion/completions/hsm-agent"):
        assert bare.path(name).is_file()


def test_a_package_that_was_removed_keeps_state_and_secrets(bare: BareDebian) -> None:
    bare.run("dpkg", "-i", "/packages/new.deb")
    secret = bare.path("/etc/hsm-agent/secrets/nms.auth").read_text(encoding="ascii")
    bare.run("dpkg", "--remove", "hsm-agent")

    assert not bare.path("/opt/hsm-agent/bin/hsm-agent").exists()
    bare.run("dpkg", "-i", "/packages/new.deb")
    assert bare.path("/etc/hsm-agent/secrets/nms.auth").read_text(encoding="ascii") == secret


@pytest.mark.parametrize("suite", SUITES)
def test_lintian_found_no_error(suite: str) -> None:
    lines = (WORK / f"lintian-{suite}.log").read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if line.startswith("E:")] == []


def test_the_same_commit_makes_the_same_files(tmp_path: Path) -> None:
    again = tmp_path / "again"
    words = [
        "scripts/package",
        "--to",
        str(again),
        "--suites",
        "bookworm",
        "wheel",
        "wheelhouse",
        "deb",
        "rpm",
        "compose",
    ]
    subprocess.run(words, check=True, capture_output=True, timeout=600, stdin=subprocess.DEVNULL)

    names = sorted(path.name for path in again.iterdir() if path.name != "SHA256SUMS")
    assert [name for name in names if (again / name).read_bytes() != (MADE / "new" / name).read_bytes()] == []


def test_every_checksum_is_that_of_its_file() -> None:
    for which in ("old", "new"):
        done = subprocess.run(
            ["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=MADE / which, check=False, timeout=60
        )
        assert done.returncode == 0
        files = {path.name for path in (MADE / which).iterdir()} - {"SHA256SUMS"}
        assert {line.split()[1] for line in (MADE / which / "SHA256SUMS").read_text().splitlines()} == files
        assert not [name for name in files if stat.S_IMODE((MADE / which / name).stat().st_mode) & 0o022]
