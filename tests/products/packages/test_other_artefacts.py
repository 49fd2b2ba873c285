"""What else is made: the .rpm unpacked, the wheelhouses installed without a network, the image run, the bills read."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from hsm_agent.version import VERSION
from tests.peers.require import require
from tests.products.packages.bare_debian import MADE, ROOT, BareDebian, apt_install, bare_debian, entered, made

if TYPE_CHECKING:
    from pathlib import Path

PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
IMAGE_ACCOUNT = 10001


def _pinned(name: str) -> set[str]:
    lines = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return {found[1].replace("_", "-").lower() for line in lines if (found := re.match(r"([\w.-]+)==", line))}


def _hashes(folder: Path) -> dict[str, str]:
    """Each file below it by its content, and each symbolic link by where it leads."""
    return {
        path.relative_to(folder).as_posix(): (
            str(path.readlink()) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
        )
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def _unpack(archive: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    subprocess.run(["tar", "--extract", "--no-same-owner", "-f", archive, "-C", folder], check=True, timeout=120)


def test_the_rpm_has_the_tree_of_the_deb(tmp_path: Path) -> None:
    rpm, deb = made("hsm-agent-*.el9.x86_64.rpm"), made("hsm-agent_*+deb12_amd64.deb")
    (tmp_path / "rpm").mkdir()
    unpack = 'rpm2cpio "$1" | cpio --quiet --extract --make-directories --no-absolute-filenames'
    subprocess.run(["sh", "-ec", unpack, "sh", rpm], cwd=tmp_path / "rpm", check=True, timeout=120)
    subprocess.run(["dpkg-deb", "-x", deb, tmp_path / "deb"], check=True, timeout=120)

    of_rpm, of_deb = _hashes(tmp_path / "rpm"), _hashes(tmp_path / "deb")
    opt = {name: digest for name, digest in of_deb.items() if name.startswith(("opt/", "etc/", "usr/lib/"))}
    assert {name: digest for name, digest in of_rpm.items() if name.startswith(("opt/", "etc/", "usr/lib/"))} == opt
    assert len(opt) > 1000


def test_the_rpm_says_what_it_needs_and_its_digests_hold() -> None:
    rpm = made("hsm-agent-*.el9.x86_64.rpm")

    def ask(*words: str) -> str:
        return subprocess.run(["rpm", *words, rpm], capture_output=True, text=True, check=True, timeout=60).stdout

    assert "digests OK" in ask("-K")
    assert {"python3.11", "shadow-utils", "systemd"} <= set(ask("-q", "--requires", "-p").split())
    owners = ask(
        "-q", "-p", "--qf", "[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME}\\n]"
    ).splitlines()
    assert "/etc/hsm-agent/agent.yaml -rw-r----- root:hsm-agent" in owners
    assert [line for line in owners if not line.endswith((" root:root", " root:hsm-agent"))] == []
    assert ask("-q", "-p", "--qf", "%{VERSION}").startswith(VERSION)
    for scriptlet in ("preinstall", "postinstall", "preuninstall", "postuninstall"):
        assert f"{scriptlet} scriptlet (using /bin/sh)" in ask("-q", "--scripts", "-p")


def test_the_rpm_s_scriptlets_do_their_work_where_rpm_runs_them() -> None:
    """On a Debian, whose Python is at the same place: not the system it is for, but the same shell and the same rpm."""
    with bare_debian("bookworm") as bare:
        apt_install(bare.folder, "rpm")
        shutil.copy(made("hsm-agent-*.el9.x86_64.rpm"), bare.path("/new.rpm"))
        first = bare.run("rpm", "--install", "--nodeps", "/new.rpm")
        listed = bare.run(
            "stat", "--format=%a %U:%G", *(f"/etc/hsm-agent{each}" for each in ("", "/agent.yaml", "/secrets"))
        )
        checked = bare.run_as_account("hsm-agent", "check-config")
        secret = bare.path("/etc/hsm-agent/secrets/nms.auth").read_text(encoding="ascii")
        again = bare.run("rpm", "--upgrade", "--force", "--nodeps", "/new.rpm")
        kept = bare.path("/etc/hsm-agent/secrets/nms.auth").read_text(encoding="ascii")
        gone = bare.run("rpm", "--erase", "--nodeps", "hsm-agent")

        said = [line for done in (first, again, gone, checked) for line in done.stderr.splitlines()]
        assert [
            line for line in said if not line.startswith("rpm: ")
        ] == []  # Debian's rpm says that it is not Debian's way
        assert listed.stdout.splitlines() == ["750 root:hsm-agent", "640 root:hsm-agent", "500 hsm-agent:hsm-agent"]
        assert kept == secret
        assert not bare.path("/opt/hsm-agent/bin").exists()
        assert bare.path("/etc/hsm-agent/secrets/nms.auth").exists()


@pytest.mark.parametrize("suite", PYTHONS)
def test_a_wheelhouse_is_installed_without_a_network_as_its_page_says(suite: str) -> None:
    python = PYTHONS[suite]
    house = made(f"hsm-agent-{VERSION}-wheelhouse-cp{python.replace('.', '')}-linux_x86_64.tar.gz")
    with bare_debian(suite) as bare:
        _unpack(house, bare.folder)
        folder = house.name.removesuffix(".tar.gz")
        page = bare.path(f"/{folder}/README.md").read_text(encoding="utf-8")
        commands = "\n".join(re.findall(r"```sh\n(.*?)```", page, re.DOTALL))
        bare.run("sh", "-ec", f"cd /{folder}\n{commands}")
        extra = "--no-index --find-links wheels --require-hashes -r requirements/canary.txt -r requirements/aws.txt"
        bare.run("sh", "-ec", f"cd /{folder}; /opt/hsm-agent/bin/pip install {extra}")

        assert VERSION in bare.run("/opt/hsm-agent/bin/hsm-agent", "--version").stdout.split()
        fitted = "cd /opt/hsm-agent/share/hsm-agent; sed -f init/installed.sed agent.yaml"
        assert "sources: []" in bare.run("sh", "-ec", fitted).stdout
        bare.run("/opt/hsm-agent/bin/python", "-c", "import pkcs11, boto3")


def test_a_wheelhouse_whose_wheel_was_changed_is_refused() -> None:
    house = made(f"hsm-agent-{VERSION}-wheelhouse-cp311-linux_x86_64.tar.gz")
    with bare_debian("bookworm") as bare:
        _unpack(house, bare.folder)
        folder = bare.path(house.name.removesuffix(".tar.gz"))
        wheel = next((folder / "wheels").glob("h11-*.whl"))
        with wheel.open("ab") as changed:
            changed.write(b"\0")
        bare.run("python3", "-m", "venv", "/opt/hsm-agent")
        pip = "/opt/hsm-agent/bin/pip install --no-index --find-links wheels --require-hashes -r requirements/run.txt"
        done = bare.run("sh", "-ec", f"cd /{folder.name}; {pip}", check=False)

        assert done.returncode != 0
        assert "DO NOT MATCH THE HASHES" in done.stdout + done.stderr


@pytest.mark.parametrize("python", PYTHONS.values())
def test_the_bill_of_materials_names_what_is_pinned_and_nothing_else(python: str) -> None:
    bill = json.loads(made(f"hsm-agent-{VERSION}-cp{python.replace('.', '')}.cdx.json").read_text(encoding="utf-8"))

    assert bill["bomFormat"] == "CycloneDX"
    names = {component["name"].replace("_", "-").lower() for component in bill["components"]}
    assert names == _pinned("run") | {"hsm-agent"}
    assert all(component["version"] for component in bill["components"])
    assert str(ROOT) not in json.dumps(bill)


def _unpack_image(folder: Path) -> dict[str, Any]:
    """The image's layers one over the other, and its configuration."""
    _unpack(made(f"hsm-agent-{VERSION}-oci.tar"), folder / "oci")
    blobs = folder / "oci" / "blobs" / "sha256"

    def blob(digest: str) -> Path:
        return blobs / digest.removeprefix("sha256:")

    index = json.loads((folder / "oci" / "index.json").read_bytes())
    manifest = json.loads(blob(index["manifests"][0]["digest"]).read_bytes())
    (folder / "root").mkdir()
    for layer in manifest["layers"]:
        words = [
            "tar",
            "--extract",
            "--numeric-owner",
            "--same-owner",
            "--same-permissions",
            "-f",
            str(blob(layer["digest"])),
        ]
        subprocess.run([*words, "-C", str(folder / "root")], check=True, timeout=120)
    found: dict[str, Any] = json.loads(blob(manifest["config"]["digest"]).read_bytes())
    return found


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("image")
    return folder / "root", _unpack_image(folder)["config"]


def test_the_image_runs_as_nobody_in_particular_and_names_its_state(image: tuple[Path, dict[str, Any]]) -> None:
    root, config = image

    assert config["User"] == f"{IMAGE_ACCOUNT}:{IMAGE_ACCOUNT}"
    assert config["Entrypoint"] == ["/opt/hsm-agent/bin/hsm-agent"]
    assert config["Cmd"] == ["run", "--config", "/etc/hsm-agent/agent.yaml"]
    assert set(config["Volumes"]) == {"/var/lib/hsm-agent", "/run/hsm-agent"}
    assert config["Labels"]["org.opencontainers.image.version"].startswith(VERSION)
    assert not (root / "etc/hsm-agent/secrets").exists()
    marked = subprocess.run(
        ["find", root, "-xdev", "-type", "f", "-perm", "/6000"], capture_output=True, text=True, check=True, timeout=60
    )
    assert marked.stdout == ""


def _healthy(container: BareDebian, command: list[str], words: tuple[str, ...]) -> bool:
    return container.run(*words, *command, check=False).returncode == 0


def test_the_image_runs_on_a_root_that_nobody_can_write(image: tuple[Path, dict[str, Any]]) -> None:
    """As an engine does it with compose.yaml: no capability, a root read-only, state and runtime folders mounted."""
    root, config = image
    compose = yaml.safe_load((ROOT / "package/compose/compose.yaml").read_text(encoding="utf-8"))["services"][
        "hsm-agent"
    ]
    (root / "proc").mkdir(exist_ok=True)
    shutil.copy(ROOT / "package/compose/agent.yaml", root / "etc/hsm-agent/agent.yaml")
    (root / "etc/hsm-agent/agent.yaml").chmod(0o644)
    owner = f"uid={IMAGE_ACCOUNT},gid={IMAGE_ACCOUNT},mode=0700"
    mounts = (
        f"mount --bind {root} {root}",
        f"mount -t proc proc {root}/proc",
        f"mount -t tmpfs -o {owner} tmpfs {root}/var/lib/hsm-agent",
        f"mount -t tmpfs -o {owner} tmpfs {root}/run/hsm-agent",
        f"mount -t tmpfs tmpfs {root}/tmp",
        f"mount -o remount,ro,bind {root}",
    )
    given = ("env", *config["Env"], "HSM_AGENT__SERVE__HTTP__LISTEN=0.0.0.0:9717", "NMS_AUTH=0123456789abcdef", "NMS_PRIV=0123456789abcdef")  # fmt: skip
    rights = ("setpriv", f"--reuid={IMAGE_ACCOUNT}", f"--regid={IMAGE_ACCOUNT}", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")  # fmt: skip
    with entered(root, *mounts) as container:
        refused = container.run(*given, *rights, "sh", "-c", "echo >/opt/hsm-agent/x", check=False)
        command = container.command(*given, *rights, *config["Entrypoint"], *config["Cmd"])
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as agent:
            probe = compose["healthcheck"]["test"][1:]
            deadline = time.monotonic() + 40
            while not (well := _healthy(container, probe, (*given, *rights))) and time.monotonic() < deadline:
                time.sleep(0.5)
            metrics = container.from_outside("curl", "-s", "http://127.0.0.1:9717/metrics").stdout
            if agent.poll() is None:
                container.terminate("hsm-agent run")
            log = agent.communicate(timeout=20)[1]
        gone = _healthy(container, probe, (*given, *rights))

    assert "Read-only" in refused.stderr
    assert well, log
    assert "hsm_spool_entries" in metrics
    assert not gone


def test_the_compose_archive_brings_rules_that_load(tmp_path: Path) -> None:
    _unpack(made(f"hsm-agent-{VERSION}-compose.tar.gz"), tmp_path)
    folder = next(tmp_path.iterdir())
    compose = yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))
    mounted = {each.split(":")[0] for service in compose["services"].values() for each in service.get("volumes", [])}

    assert [name for name in mounted if name.startswith("./") and not (folder / name).exists()] == []
    command = [str(require("promtool")), "check", "config", str(folder / "prometheus/prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"SUCCESS: [1-9]\d* rules found", done.stdout)


def test_rpmlint_found_no_error() -> None:
    text = (ROOT / "var/package/rpmlint.log").read_text(encoding="utf-8")

    assert re.search(r"; 0 errors,", text), text[-500:]
    assert MADE.is_dir()
