"""What setup finds on a host, what it makes of the answers, and what it writes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hsm_agent.cli.setup.account import service_account
from hsm_agent.cli.setup.look import SeenModule, SeenToken
from hsm_agent.cli.setup.places import PLACES, find_modules, named_module
from hsm_agent.cli.setup.plan import CONFIGURATION, NewSecret, PlannedSource, SetupPlan, render
from hsm_agent.cli.setup.verb import setup
from hsm_agent.cli.setup.wishes import SetupOptions, WishError, Wishes, chosen_server, chosen_sinks, chosen_sources
from hsm_agent.cli.setup.writing import SECRETS, in_the_way, rehearse, write
from hsm_agent.config.tree import load
from hsm_agent.settings.errors import ConfigError
from tests.peers.trusted import trusting

OWN = service_account("root" if os.geteuid() == 0 else None)
HOSTILE = 'a"b\\c: [x] #y\n- z: \u202e'


def installed(root: Path, *paths: str, text: str = "") -> None:
    for path in paths:
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def options(**given: Any) -> SetupOptions:
    """As the verb gives them where nothing was said, and nothing is asked."""
    nothing = {each.name: None for each in setup.params if each.name and each.name != "config"}
    lists: dict[str, Any] = {"module": (), "environment": (), "token": ()}
    defaults = {"http_listen": "127.0.0.1:9717", "timeout": 10.0, "prove": True, "force": False, "yes": True}
    return SetupOptions(**{**nothing, **lists, **defaults, **given})


def seen(path: str, *labels: str, failure: str = "") -> SeenModule:
    tokens = tuple(SeenToken(label=each, serial="01", model="M", memory_used_percent=None) for each in labels)
    return SeenModule(module=named_module(Path(path), {}), tokens=tokens, failure=failure)


def plan(wishes: Wishes, *modules: SeenModule, **agent: str) -> SetupPlan:
    return SetupPlan(
        agent=agent,
        sources=chosen_sources(wishes, modules),
        sinks=chosen_sinks(wishes),
        snmp=chosen_server(wishes),
        http_listen=wishes.options.http_listen,
        secrets=wishes.secrets,
        schema=None,
        date="2026-11-29",
    )


def test_every_place_names_its_source() -> None:
    assert {place.vendor for place in PLACES} == {
        "luna", "nshield", "utimaco", "cloudhsm", "opencryptoki", "yubihsm", "softhsm",
    }  # fmt: skip
    assert all(place.told_by and place.paths for place in PLACES)


@pytest.mark.parametrize(
    ("path", "vendor"),
    [
        ("/usr/safenet/lunaclient/lib/libCryptoki2_64.so", "luna"),
        ("/opt/nfast/toolkits/pkcs11/libcknfast.so", "nshield"),
        ("/opt/utimaco/PKCS11_R3/lib/libcs_pkcs11_R3.so", "utimaco"),
        ("/opt/cloudhsm/lib/libcloudhsm_pkcs11.so", "cloudhsm"),
        ("/usr/lib/aarch64-linux-gnu/pkcs11/libopencryptoki.so", "opencryptoki"),
        ("/usr/lib64/pkcs11/yubihsm_pkcs11.so", "yubihsm"),
        ("/usr/lib/softhsm/libsofthsm2.so", "softhsm"),
    ],
)
def test_a_vendors_module_is_found_where_it_is_installed(path: str, vendor: str, tmp_path: Path) -> None:
    installed(tmp_path, path)

    assert [(each.vendor, each.path) for each in find_modules({}, tmp_path)] == [(vendor, tmp_path / path[1:])]


def test_one_file_under_two_names_is_found_once(tmp_path: Path) -> None:
    installed(tmp_path, "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
    (tmp_path / "usr/lib/softhsm").mkdir()
    (tmp_path / "usr/lib/softhsm/libsofthsm2.so").symlink_to(
        tmp_path / "usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"
    )

    assert len(find_modules({}, tmp_path)) == 1


def test_module_files_of_p11_kit_are_followed(tmp_path: Path) -> None:
    installed(tmp_path, "/usr/lib64/pkcs11/vendor.so", "/usr/lib64/pkcs11/p11-kit-trust.so", "/opt/acme/libacme.so")
    files = tmp_path / "usr/share/p11-kit/modules"
    installed(files, "vendor.module", text="# a comment\nmodule: vendor.so\n")
    installed(files, "absolute.module", text="module: /opt/acme/libacme.so\n")
    installed(files, "trust.module", text="module: p11-kit-trust.so\ntrust-policy: yes\n")
    installed(files, "remote.module", text="module: vendor.so\nremote: |ssh host p11-kit remote\n")
    installed(files, "gone.module", text="module: gone.so\n")
    installed(files, "root.module", text="module: /\n")
    installed(files, "nul.module", text="module: /\0\n")

    assert {each.path.name: each.vendor for each in find_modules({}, tmp_path)} == {
        "vendor.so": "vendor", "libacme.so": "acme",
    }  # fmt: skip


def test_a_module_takes_its_vendors_variables_along() -> None:
    given = {"SOFTHSM2_CONF": "/x", "ChrystokiConfigurationPath": "/y", "LD_PRELOAD": "/z"}

    assert named_module(Path("/a/libsofthsm2.so"), given).environment == {"SOFTHSM2_CONF": "/x"}
    assert named_module(Path("/a/libCryptoki2_64.so"), given).environment == {"ChrystokiConfigurationPath": "/y"}
    assert named_module(Path("/a/libother.so"), given).environment == {}


def test_modules_that_failed_or_are_empty_are_left_out(tmp_path: Path) -> None:
    modules = [seen("/a/libsofthsm2.so", "p"), seen("/b/libcknfast.so", failure="hangs"), seen("/c/libx.so")]

    assert [each.name for each in chosen_sources(Wishes(options()), modules)] == ["softhsm"]
    with pytest.raises(WishError, match="no token was found"):
        chosen_sources(Wishes(options()), modules[1:])


def test_two_modules_of_a_vendor_have_two_names() -> None:
    modules = [seen("/a/libsofthsm2.so", "p"), seen("/b/libsofthsm2.so", "q")]

    assert [each.name for each in chosen_sources(Wishes(options()), modules)] == ["softhsm", "softhsm-2"]


def _secret(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


def test_what_is_written_loads_and_says_what_was_asked_for(tmp_path: Path) -> None:
    wishes = Wishes(
        options(
            snmp_sink="udp:192.0.2.1:162",
            snmp_user="noc user",
            snmp_auth_file=_secret(tmp_path / "a", "authentication\n"),
            syslog_sink="relp:192.0.2.2:2514",
            alertmanager_sink="http://192.0.2.3:9093",
            webhook_sink="http://192.0.2.4/hook",
            snmp_reader="nms",
            token=("payments", "sign*"),
        )
    )
    made = plan(wishes, seen("/usr/lib/softhsm/libsofthsm2.so", "payments"), name="hsm-1", state_directory="/var/x")
    folder = tmp_path / "etc"
    written = write(made, folder, OWN)
    config = load(folder / CONFIGURATION, trusting()).config

    assert {path.name for path in written} == {"agent.yaml", "noc.auth", "noc.priv", "nms.auth", "nms.priv"}
    assert {path.stat().st_mode & 0o777 for path in written} == {0o600, 0o400}
    assert (folder / SECRETS / "noc.auth").read_text() == "authentication\n"
    assert {secret.name for secret in made.secrets if secret.is_made} == {"noc.priv", "nms.auth", "nms.priv"}
    assert [sink.name for sink in config.deliver] == ["noc", "siem", "alertmanager", "webhook"]
    assert config.agent.name == "hsm-1"
    assert config.serve.snmp is not None
    assert [user.name for user in config.serve.snmp.users] == ["nms"]
    assert config.sources[0].model_dump()["tokens"] == ("payments", "sign*")


def test_hostile_labels_and_values_stay_comments_and_texts(tmp_path: Path) -> None:
    source = PlannedSource(
        name="a", module=Path("/usr/lib/x.so"), environment={"A": HOSTILE}, tokens=(HOSTILE,), seen=(f"{HOSTILE}, 1",)
    )
    made = SetupPlan(
        agent={"name": "a"}, sources=[source], sinks=[], snmp={"listen": ["udp:127.0.0.1:1161"]},
        http_listen="127.0.0.1:9717", secrets=[], schema=None, date="2026-11-29",
    )  # fmt: skip
    write(made, tmp_path / "etc", OWN)
    [found] = load(tmp_path / "etc" / CONFIGURATION, trusting()).config.sources

    assert found.model_dump()["environment"] == {"A": HOSTILE}
    assert found.model_dump()["tokens"] == (HOSTILE,)


def test_a_secret_is_in_no_representation() -> None:
    assert "geheim" not in repr(NewSecret(name="a", value="geheim", is_made=False))


def test_a_mistake_is_found_before_anything_is_written(tmp_path: Path) -> None:
    made = plan(Wishes(options(syslog_sink="http://192.0.2.2")), seen("/usr/lib/x.so", "p"), state_directory="/var/x")

    with pytest.raises(ConfigError) as caught:
        rehearse(made, OWN, trusting())

    assert any(line.startswith("agent.yaml: deliver.0.to: not an address") for line in caught.value.lines)


def test_a_link_in_the_way_is_replaced_and_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / CONFIGURATION).symlink_to(precious)
    made = plan(Wishes(options()), seen("/usr/lib/x.so", "p"), state_directory="/var/x")

    assert in_the_way(folder, made) == [folder / CONFIGURATION]
    write(made, folder, OWN)
    assert precious.read_text() == "mine"
    assert not (folder / CONFIGURATION).is_symlink()


def test_v2c_has_a_community(tmp_path: Path) -> None:
    file = _secret(tmp_path / "c", "public\n")
    wishes = Wishes(
        options(snmp_sink="udp:192.0.2.1:162", snmp_version="v2c", snmp_type="trap", snmp_community_file=file)
    )
    text = render(plan(wishes, seen("/usr/lib/x.so", "p")), Path("/etc/hsm-agent/secrets"))

    assert "    community: {file: /etc/hsm-agent/secrets/noc.community}\n" in text
    assert "public" not in text


@pytest.mark.parametrize("name", ["/", "**x", "lib[1].so", "*.so", "a\0b", "../../../etc/*", "x" * 5000])
def test_what_a_module_file_names_is_a_name_and_no_pattern(name: str, tmp_path: Path) -> None:
    modules = tmp_path / "usr/share/p11-kit/modules"
    folder = tmp_path / "usr/lib/x86_64-linux-gnu/pkcs11"
    modules.mkdir(parents=True)
    folder.mkdir(parents=True)
    (folder / "other.so").touch()
    (folder / "lib[1].so").touch()
    (modules / "one.module").write_text(f"module: {name}\n", encoding="utf-8")

    assert [each.path.name for each in find_modules({}, tmp_path)] == (["lib[1].so"] if name == "lib[1].so" else [])
