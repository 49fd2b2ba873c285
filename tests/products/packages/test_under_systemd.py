"""The package on a Debian that has booted: its unit starts it, an upgrade restarts it, a purge takes it away."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.products.packages.bare_debian import booted_debian, made

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.products.packages.bare_debian import BareDebian

SUITES = {"bookworm": "deb12", "trixie": "deb13"}
HIGHEST_EXPOSURE = 1.5


@pytest.fixture(params=SUITES)
def debian(request: pytest.FixtureRequest) -> Iterator[BareDebian]:
    with booted_debian(request.param) as found:
        found.path("/packages").mkdir()
        for which in ("old", "new"):
            package = made(f"hsm-agent_*+{SUITES[request.param]}_amd64.deb", which)
            shutil.copy(package, found.path(f"/packages/{which}.deb"))
        yield found


def _shown(debian: BareDebian, *names: str) -> list[str]:
    return [
        debian.run("systemctl", "show", "--value", f"--property={name}", "hsm-agent").stdout.strip() for name in names
    ]


def _is_well(debian: BareDebian) -> None:
    active, status, restarts = _shown(debian, "ActiveState", "StatusText", "NRestarts")
    assert (active, status.startswith("watching"), restarts) == ("active", True, "0")
    assert "sources" in debian.run("hsm-agent", "status").stdout


def test_the_unit_starts_what_was_installed_and_an_upgrade_starts_it_anew(debian: BareDebian) -> None:
    debian.run("dpkg", "-i", "/packages/old.deb")
    _is_well(debian)
    assert debian.run("systemctl", "is-enabled", "hsm-agent").stdout == "enabled\n"
    exposure = re.search(r"level for \S+: ([\d.]+)", debian.run("systemd-analyze", "security", "hsm-agent").stdout)
    assert exposure is not None
    assert float(exposure[1]) <= HIGHEST_EXPOSURE
    before = _shown(debian, "MainPID")
    engine = debian.path("/var/lib/hsm-agent/snmp-engine.json").read_text(encoding="utf-8").split("boots")[0]

    debian.run("dpkg", "--force-confold", "-i", "/packages/new.deb")

    _is_well(debian)
    assert _shown(debian, "MainPID") != before
    assert debian.path("/var/lib/hsm-agent/snmp-engine.json").read_text(encoding="utf-8").split("boots")[0] == engine
    debian.run("systemctl", "reload", "hsm-agent")
    _is_well(debian)

    debian.run("dpkg", "--purge", "hsm-agent")
    assert debian.run("systemctl", "is-active", "hsm-agent", check=False).stdout == "inactive\n"
    assert "not-found" in debian.run("systemctl", "show", "--property=LoadState", "hsm-agent").stdout


def test_a_unit_that_was_disabled_stays_so_through_an_upgrade(debian: BareDebian) -> None:
    debian.run("dpkg", "-i", "/packages/old.deb")
    debian.run("systemctl", "disable", "--now", "hsm-agent")

    debian.run("dpkg", "-i", "/packages/new.deb")

    assert debian.run("systemctl", "is-enabled", "hsm-agent", check=False).stdout == "disabled\n"
    assert _shown(debian, "ActiveState") == ["inactive"]


def test_a_configuration_that_is_refused_leaves_the_package_installed_and_is_said(debian: BareDebian) -> None:
    debian.run("dpkg", "-i", "/packages/old.deb")
    with debian.path("/etc/hsm-agent/agent.yaml").open("a", encoding="utf-8") as file:
        file.write("unknown: 1\n")

    done = debian.run("dpkg", "--force-confold", "-i", "/packages/new.deb")

    assert "hsm-agent did not start" in done.stderr
    assert "Status: install ok installed" in debian.run("dpkg", "-s", "hsm-agent").stdout
    assert _shown(debian, "ActiveState", "NRestarts") == ["failed", "0"]
