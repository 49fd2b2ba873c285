"""The tree of settings as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from hsm_agent.config.tree import Config, tls_uses
from hsm_agent.settings.errors import explain
from tests.peers import pki

if TYPE_CHECKING:
    from pathlib import Path


def test_empty_lists_may_be_left_blank() -> None:
    config = Config.model_validate({"sources": None, "rules": None, "deliver": None})

    assert (config.sources, config.rules, config.deliver) == ((), (), ())


def test_settings_are_equal_when_they_say_the_same() -> None:
    tree = {"sources": [{"name": "a", "kind": "pkcs11", "module": "/m"}]}

    assert Config.model_validate(tree).sources == Config.model_validate(tree).sources


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError):
        Config().agent.name = "another"  # type: ignore[misc]  # what the test is about


def test_two_rules_or_two_sinks_of_one_name_are_refused() -> None:
    rule = {"name": "pin"}
    sink = {"name": "x", "kind": "syslog", "to": "udp:h:514"}

    with pytest.raises(ValidationError, match=r"rules\.1\.name: .*pin"):
        Config.model_validate({"rules": [rule, rule]})
    with pytest.raises(ValidationError, match=r"deliver\.1\.name: two things are called 'x'"):
        Config.model_validate({"deliver": [sink, sink]})


def test_certificates_of_the_agent_are_kept_with_the_sink_or_server_that_uses_them(tmp_path: Path) -> None:
    made = pki.make(tmp_path)
    tls = {"name": "siem", "kind": "syslog", "to": "tls:h:6514", "tls": {"ca": str(made.ca)}}
    plain = {"name": "plain", "kind": "syslog", "to": "udp:h:514"}
    web = tmp_path / "web.yml"
    web.write_text(f"tls_server_config: {{cert_file: {made.server.certificate}, key_file: {made.server.key}}}\n")
    keeps = Config.model_validate(
        {"deliver": [tls, plain], "serve": {"http": {"web_config": str(web)}}}
    ).is_configured()
    without = Config.model_validate({"deliver": [plain]}).is_configured()

    kept = [("siem", True), ("siem/ca/Root", True), ("serve.http", True), ("plain", False), ("siemens", False)]
    for resource, expected in kept:
        series = ("agent", resource, "certificate_seconds_left", ())
        assert keeps(series) is expected, resource
        assert without(series) is False, resource
    assert keeps(("agent", "plain", "sink_up", ()))


@pytest.mark.parametrize(
    ("hsms", "said"),
    [
        pytest.param({"a": ["luna"]}, "not SOURCE/TOKEN: 'luna'", id="no token"),
        pytest.param({"a": ["/pay"]}, "not SOURCE/TOKEN: '/pay'", id="no source"),
        pytest.param({"a": []}, "at least 1", id="none"),
        pytest.param({"a": ["x/*"], "b": ["x/*"]}, "'x/\\*' stands twice", id="on two HSMs"),
    ],
)
def test_hsms_name_their_tokens(hsms: dict[str, list[str]], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Config.model_validate({"hsms": hsms})


PUBLISH = {"etcd": {"endpoints": ["http://127.0.0.1:2379"]}}
PUBLISHED = ("agent", "", "publish_age_seconds", ())


def test_whether_it_publishes_is_read_with_its_bounds_and_empty_is_no() -> None:
    assert Config.model_validate({"publish": None}).publish is None
    published = Config.model_validate({"publish": PUBLISH}).publish
    assert published is not None
    assert (published.every, published.site) == (60.0, "")
    assert published == Config.model_validate({"publish": PUBLISH}).publish


def test_a_mistake_in_publish_is_told_with_its_place() -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"publish": {**PUBLISH, "sit": "fra"}})

    assert explain(caught.value, Config) == ["publish.sit: unknown key, did you mean 'site'?"]


def test_readings_of_publishing_stay_while_it_publishes(tmp_path: Path) -> None:
    made = pki.make(tmp_path)
    etcd = {"endpoints": ["https://127.0.0.1:2379"], "tls": {"ca": str(made.ca)}}
    certificate = ("agent", "publish.etcd/ca", "certificate_seconds_left", ())

    for publish, keeps_age, keeps_certificate in (
        (None, False, False),
        (PUBLISH, True, False),
        ({"etcd": etcd}, True, True),
    ):
        keeps = Config.model_validate({"publish": publish}).is_configured()
        assert (keeps(PUBLISHED), keeps(certificate)) == (keeps_age, keeps_certificate)


@pytest.mark.parametrize("name", ["a\nb", "a\u202eb"])
def test_an_agent_that_publishes_has_a_name_that_can_be_shown(name: str) -> None:
    with pytest.raises(ValidationError, match=r"agent\.name: cannot be shown as it is"):
        Config.model_validate({"agent": {"name": name}, "publish": PUBLISH})

    assert Config.model_validate({"agent": {"name": "a\nb"}}).publish is None


GROUP = {"name": "emea", "etcd": {"endpoints": ["http://127.0.0.1:2379"]}}
LEADING = ("agent", "", "group_leading", ())


def test_a_group_is_there_where_it_is_written() -> None:
    assert Config.model_validate({}).group is None
    single, member = (Config.model_validate({"group": group}) for group in (None, GROUP))

    assert member.group is not None
    assert (member.group.name, member.group.lease) == ("emea", 3.0)
    assert [config.is_configured()(LEADING) for config in (single, member)] == [False, True]


def test_a_status_is_published_through_the_group_where_nothing_else_is_written() -> None:
    both = Config.model_validate({"group": GROUP, "publish": {"every": "30s"}})
    apart = Config.model_validate({"group": GROUP, "publish": {"etcd": {"endpoints": ["http://127.0.0.2:2379"]}}})

    assert both.publish is not None
    assert both.publish.servers.endpoints == ("http://127.0.0.1:2379",)
    assert apart.publish is not None
    assert apart.publish.servers.endpoints == ("http://127.0.0.2:2379",)
    with pytest.raises(ValidationError, match=r"publish\.etcd: required key is missing"):
        Config.model_validate({"publish": {"every": "30s"}})


def test_certificates_of_the_group_are_watched_once(tmp_path: Path) -> None:
    etcd = {"endpoints": ["https://127.0.0.1:2379"], "tls": {"ca": str(pki.make(tmp_path).ca)}}
    config = Config.model_validate({"group": {**GROUP, "etcd": etcd}, "publish": {}})

    assert [use.name for use in tls_uses(config.publish, config.sources, config.group)] == ["group.etcd"]
    keeps = config.is_configured()
    assert keeps(("agent", "group.etcd/ca", "certificate_seconds_left", ()))
    assert not keeps(("agent", "publish.etcd/ca", "certificate_seconds_left", ()))
