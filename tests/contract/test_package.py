"""What packages are made of: every file they name is there, versions agree, and their configurations are good ones."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from hsm_agent.config.tree import load
from hsm_agent.version import VERSION
from tests.fakes.sample_configuration import SAMPLE, switched_on
from tests.peers.require import require
from tests.peers.trusted import trusting

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "package"
COMPOSE = PACKAGE / "compose"
ASSEMBLED = {"./alertmanager", "./grafana/dashboards"}  # by scripts/package, from integrations/
SCRIPTLETS = sorted([*(PACKAGE / "deb").glob("p*"), *(PACKAGE / "rpm").glob("p*")])


def _as_installed() -> str:
    command = ["sed", "-f", str(ROOT / "init" / "installed.sed"), str(SAMPLE)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The sample configuration laid out as a package does it, below another root."""
    folder = tmp_path / "etc" / "hsm-agent"
    (folder / "secrets").mkdir(parents=True, mode=0o500)
    (folder / "secrets").chmod(0o700)
    for name in ("nms.auth", "nms.priv"):
        (folder / "secrets" / name).write_text("0123456789abcdef", encoding="ascii")
        (folder / "secrets" / name).chmod(0o400)
    path = folder / "agent.yaml"
    path.write_text(_as_installed(), encoding="utf-8")
    path.chmod(0o640)
    return path


def test_the_sample_passes_check_config_as_it_is_installed(installed: Path, tmp_path: Path) -> None:
    environment = {"HSM_AGENT__AGENT__STATE_DIRECTORY": str(tmp_path / "state")}
    command = [sys.executable, "-m", "hsm_agent", "check-config", "--config", str(installed)]
    done = subprocess.run(
        command, env=trusting(**environment), cwd=ROOT, capture_output=True, text=True, check=False, timeout=50
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert f"{installed}: valid" in done.stdout


def test_the_sample_as_installed_knows_the_folders_of_the_service(installed: Path) -> None:
    agent = load(installed, trusting()).config.agent

    assert agent.state_directory == Path("/var/lib/hsm-agent")
    assert agent.control_socket == Path("/run/hsm-agent/control")


def test_the_sample_as_installed_has_no_path_of_a_checkout() -> None:
    text = _as_installed()

    assert re.findall(r"(?<![\w/.])(?:\./)?(?:conf|var|scripts)/", text) == []


def test_the_sample_as_installed_shows_all_that_the_checkout_s_shows() -> None:
    shown = yaml.safe_load(switched_on(_as_installed()))
    sources = yaml.safe_load(switched_on(SAMPLE.read_text(encoding="utf-8")))["sources"]

    assert [source["name"] for source in shown["sources"]] == [source["name"] for source in sources]


def _nfpm() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((PACKAGE / "nfpm.yaml").read_text(encoding="utf-8"))
    return found


def test_packages_name_files_that_exist() -> None:
    """Those of the tree are staged by scripts/package, and are looked at by the test of the packages themselves."""
    config = _nfpm()
    named = [entry["src"] for entry in config["contents"] if "src" in entry and entry.get("type") != "symlink"]
    scripts = [path for kind in config["overrides"].values() for path in kind["scripts"].values()]

    assert [name for name in named if not name.startswith("${STAGE}/") and not (ROOT / name).is_file()] == []
    assert {PACKAGE / path.removeprefix("var/package/scriptlets/") for path in scripts} == set(SCRIPTLETS)


def test_scriptlets_pass_shellcheck() -> None:
    command = [str(require("shellcheck")), "-s", "sh", str(PACKAGE / "prepare.sh"), *map(str, SCRIPTLETS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

    assert (done.returncode, done.stdout) == (0, "")


def _scriptlet(text: str, root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it below another root, as whoever runs the tests: who owns what is not looked at."""
    for name in ("/etc/hsm-agent", "/var/lib/hsm-agent", "/run/hsm-agent", "/opt/hsm-agent"):
        text = text.replace(name, f"{root}{name}")
    stubs = 'chown() { :; }\ninstall() { for last; do :; done; mkdir -p "$last"; }\n'
    command = ["sh", "-c", f"set -e\n{stubs}{text}", "scriptlet", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)


@pytest.mark.parametrize("before", ["", "secrets", "secrets.new", "secrets.new/nms.auth/x"])
def test_secrets_are_made_whole_wherever_an_earlier_run_was_interrupted(tmp_path: Path, before: str) -> None:
    folder = tmp_path / "etc" / "hsm-agent"
    (folder / before).mkdir(parents=True)
    text = (PACKAGE / "prepare.sh").read_text(encoding="utf-8")

    runs = [(_scriptlet(text, tmp_path).returncode, _secrets(folder)) for _ in range(2)]

    assert runs[0] == runs[1], "what is there stays"
    assert runs[0][0] == 0
    assert [len(secret) for secret in runs[0][1].values()] == [32, 32]
    assert [path.name for path in folder.iterdir()] == ["secrets"]


def _secrets(folder: Path) -> dict[str, str]:
    return {name: (folder / "secrets" / name).read_text(encoding="ascii") for name in ("nms.auth", "nms.priv")}


def test_an_agent_that_was_installed_by_hand_is_neither_mixed_with_a_package_nor_purged_with_it(tmp_path: Path) -> None:
    by_hand = tmp_path / "opt" / "hsm-agent" / "bin" / "hsm-agent"
    state = tmp_path / "var" / "lib" / "hsm-agent"
    texts = {path: (PACKAGE / path).read_text(encoding="utf-8") for path in ("deb/preinst", "deb/postrm", "rpm/pre")}
    by_hand.parent.mkdir(parents=True)
    by_hand.touch()
    state.mkdir(parents=True)

    refused = [_scriptlet(texts["deb/preinst"], tmp_path, "install"), _scriptlet(texts["rpm/pre"], tmp_path, "1")]
    kept = _scriptlet(texts["deb/postrm"], tmp_path, "purge"), by_hand.exists(), state.exists()
    upgraded = _scriptlet(texts["deb/preinst"], tmp_path, "upgrade", "0.1.0")
    by_hand.unlink()
    taken = _scriptlet(texts["deb/postrm"], tmp_path, "purge"), by_hand.parent.exists(), state.exists()

    assert [(each.returncode, "move it away first" in each.stderr) for each in refused] == [(1, True), (1, True)]
    assert (kept[0].returncode, *kept[1:]) == (0, True, True)
    assert upgraded.returncode == 0
    assert (taken[0].returncode, *taken[1:]) == (0, False, False)


def test_every_override_of_lintian_has_its_reason() -> None:
    lines = (PACKAGE / "deb" / "lintian-overrides").read_text(encoding="utf-8").splitlines()

    assert lines[0].startswith("# ")
    assert all(above.startswith("#") for above, line in pairwise(lines) if line.startswith("hsm-agent:"))


def test_all_that_is_made_takes_its_version_from_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = re.findall(
        r'^VERSION = "(.*)"$', (ROOT / "hsm_agent" / "version.py").read_text(encoding="utf-8"), re.MULTILINE
    )
    shown = subprocess.run(
        [sys.executable, "-m", "hsm_agent", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )

    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "hsm_agent.version.VERSION"}
    assert found == [VERSION]  # as scripts/package and scripts/release read it
    assert VERSION in shown.stdout.split()
    assert _nfpm()["version"] == "${PACKAGE_VERSION}"


def test_the_wheel_takes_along_what_the_package_reads() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = [
        f"{package.replace('.', '/')}/{pattern}"
        for package, each in project["tool"]["setuptools"]["package-data"].items()
        for pattern in each
    ]
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "hsm_agent"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=50)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    read = [name for name in done.stdout.splitlines() if not name.endswith(".py")]

    assert [name for name in read if not any(fnmatch(name, pattern) for pattern in patterns)] == []


def test_the_compose_file_mounts_what_is_there_and_names_no_registry() -> None:
    compose = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))
    services = compose["services"]
    mounted = [each.split(":")[0] for service in services.values() for each in service.get("volumes", [])]
    files = [name for name in mounted if name.startswith("./") and name not in ASSEMBLED]

    assert set(services) == {"hsm-agent", "prometheus", "victoriametrics", "alertmanager", "grafana"}
    assert [name for name in files if not (COMPOSE / name).exists()] == []
    assert {name for name in mounted if not name.startswith("./")} == set(compose["volumes"])
    assert [each["image"] for each in services.values() if re.match(r"[^/]*[.:][^/]*/", each["image"])] == []
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service["ports"])


def test_the_agent_of_the_compose_file_has_no_rights() -> None:
    agent = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))["services"]["hsm-agent"]

    assert agent["user"] != "0"
    assert agent["read_only"] is True
    assert agent["cap_drop"] == ["ALL"]
    assert agent["security_opt"] == ["no-new-privileges:true"]
    assert agent["healthcheck"]["test"] == ["CMD", "/opt/hsm-agent/bin/hsm-agent", "status"]
    assert "privileged" not in agent


def test_the_configurations_beside_the_compose_file_are_good_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NMS_AUTH", "NMS_PRIV"):
        monkeypatch.setenv(name, "0123456789")
    path = tmp_path / "agent.yaml"
    path.write_bytes((COMPOSE / "agent.yaml").read_bytes())
    path.chmod(0o444)
    command = [str(require("promtool")), "check", "config", str(COMPOSE / "prometheus" / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

    assert load(path, trusting()).config.serve.snmp is not None
    assert (done.returncode, done.stderr) == (0, "")
