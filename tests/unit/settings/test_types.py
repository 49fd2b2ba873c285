"""Durations, sizes, hosts and ports, paths, and the environment of a child, as a configuration writes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from hsm_agent.settings.types import Deadline, Duration, Environment, Interval, LocalPath, Size, Strict
from hsm_agent.text import duration, host_port, size


class Sample(Strict):
    every: Duration = 60.0
    limit: Size = 1024
    place: LocalPath | None = None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30.0),
        ("5m", 300.0),
        ("24h", 86400.0),
        ("90d", 7776000.0),
        ("1.5h", 5400.0),
        (" 5s ", 5.0),
        ("0s", 0.0),
        (0, 0.0),
    ],
)
def test_durations_have_a_unit(text: object, seconds: float) -> None:
    assert duration(text) == seconds
    assert Sample.model_validate({"every": text}).every == seconds


@pytest.mark.parametrize(
    "text",
    ["", "5", 5, 5.0, "-5s", "5 s", "s", "5S", "5w", "1h30m", "1e3s", ".5s", "٣s", None, True, False, [], "5s\n5s"],
    ids=repr,
)
def test_anything_else_is_no_duration(text: object) -> None:
    with pytest.raises(ValidationError, match="not a duration"):
        Sample.model_validate({"every": text})


class Schedule(Strict):
    every: Interval = 60.0
    timeout: Deadline = 10.0


def test_an_interval_lasts_10_ms_and_a_deadline_1_ms_at_least() -> None:
    shortest = Schedule.model_validate({"every": "10ms", "timeout": "1ms"})

    assert (shortest.every, shortest.timeout) == (0.01, 0.001)
    assert Schedule.model_validate({"every": "50ms"}).every == 0.05


@pytest.mark.parametrize(
    ("key", "text", "least"),
    [
        ("every", "0.0000001ms", "10ms"),
        ("every", "9.9ms", "10ms"),
        ("every", "0s", "10ms"),
        ("every", 0, "10ms"),
        ("timeout", "0.9ms", "1ms"),
        ("timeout", "0s", "1ms"),
    ],
)
def test_anything_shorter_is_refused_at_its_place(key: str, text: object, least: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Schedule.model_validate({key: text})
    (error,) = caught.value.errors()
    assert error["loc"] == (key,)
    assert error["msg"] == f"Value error, shorter than {least}: {text!r}"


@pytest.mark.parametrize("text", ["40000d", "9" * 400 + "s"], ids=["a hundred years and more", "no number any more"])
def test_a_duration_ends_within_a_hundred_years(text: str) -> None:
    with pytest.raises(ValueError, match="longer than a hundred years"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("2MiB", 2 * 2**20),
        ("16MB", 16000000),
        (4096, 4096),
        ("4096", 4096),
        ("1kB", 1000),
        ("1KB", 1000),
        ("1KiB", 1024),
        ("1GiB", 2**30),
        ("1TB", 10**12),
        ("7B", 7),
        (0, 0),
        (" 2MiB ", 2 * 2**20),
    ],
)
def test_sizes_are_plain_or_have_a_unit(text: object, octets: int) -> None:
    assert size(text) == octets
    assert Sample.model_validate({"limit": text}).limit == octets


@pytest.mark.parametrize(
    "text", ["", "-1", -1, 1.5, "1.5MiB", "2 MiB", "2mib", "MiB", "٣", None, True, [], "2MiBs"], ids=repr
)
def test_anything_else_is_no_size(text: object) -> None:
    with pytest.raises(ValidationError, match="not a size"):
        Sample.model_validate({"limit": text})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("conf/ca.pem", "/srv/hsm/conf/ca.pem"),
        ("/etc/ca.pem", "/etc/ca.pem"),
        ("~/ca.pem", "/home/agent/ca.pem"),
    ],
)
def test_a_relative_path_starts_at_the_base(text: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/agent")

    found = Sample.model_validate({"place": text}, context={"base": Path("/srv/hsm")})

    assert found.place == Path(expected)


def test_without_a_base_a_path_is_as_written() -> None:
    assert Sample.model_validate({"place": "ca.pem"}).place == Path("ca.pem")


def test_a_home_nobody_has_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ValidationError, match="no home directory is known for '~nobody-of-that-name/x'"):
        Sample.model_validate({"place": "~nobody-of-that-name/x"}, context={"base": Path("/")})


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError) as caught:
        Sample.model_validate({"evry": "5s"})

    (error,) = caught.value.errors()
    assert (error["type"], error["loc"]) == ("extra_forbidden", ("evry",))


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Sample().every = 5.0  # type: ignore[misc]  # that is the point


def test_an_error_does_not_repeat_what_was_given() -> None:
    with pytest.raises(ValidationError) as caught:
        Sample.model_validate({"place": ["maplesyrup"]})

    assert "maplesyrup" not in str(caught.value)


def test_only_what_begins_like_a_path_is_made_one() -> None:
    given = {"CONF": "./hsm.conf", "FLAGS": "a ./b", "HOME": "/x", "UP": "../y"}
    read = TypeAdapter[Environment](Environment).validate_python(given, context={"base": "/etc/hsm"})

    assert read == {"CONF": "/etc/hsm/hsm.conf", "FLAGS": "a ./b", "HOME": "/x", "UP": "../y"}
    assert TypeAdapter[Environment](Environment).validate_python({"CONF": "./c"}) == {"CONF": "./c"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hsm.example.net:443", ("hsm.example.net", 443, False)),
        ("[2001:db8::1]:443", ("2001:db8::1", 443, True)),
        ("[fe80::1%eth0]:0", ("fe80::1%eth0", 0, True)),
        ("h:99999", ("h", 99999, False)),
    ],
)
def test_a_host_and_a_port_are_read(text: str, expected: tuple[str, int, bool]) -> None:
    assert host_port(text) == expected


@pytest.mark.parametrize("text", ["", "h", "h:", ":1", "::1:443", "[]:1", "[a b]:1", "a/b:1", "h:٣", "h:1 ", "h:-1"])
def test_what_is_neither_is_none(text: str) -> None:
    assert host_port(text) is None
