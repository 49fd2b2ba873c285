"""What is said to systemd, and when nothing is."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from hsm_agent.agent.periodic import notify_systemd, reloading_states, watchdog_seconds
from tests.fakes.descriptors import no_descriptor_left

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_states_go_to_the_socket_that_systemd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify_systemd("READY=1", "STATUS=well")

        assert channel.recv(100) == b"READY=1\nSTATUS=well"


def test_an_abstract_socket_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"hsm-agent-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify_systemd("STOPPING=1")

        assert channel.recv(100) == b"STOPPING=1"


def test_without_systemd_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)

    notify_systemd("READY=1")
    assert watchdog_seconds() is None


def test_a_socket_that_is_gone_does_not_end_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))

    notify_systemd("READY=1")
    assert "systemd was not told READY=1" in caplog.text


def test_the_watchdog_is_fed_twice_in_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    assert watchdog_seconds() == 15.0

    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_seconds() is None
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    monkeypatch.setenv("WATCHDOG_USEC", "soon")
    assert watchdog_seconds() is None


def test_a_reload_names_its_moment() -> None:
    first, second = reloading_states()

    assert first == "RELOADING=1"
    assert second.startswith("MONOTONIC_USEC=")
    assert second.partition("=")[2].isdecimal()


def test_a_word_that_cannot_be_said_is_a_line_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody-listens"))
    notify_systemd("READY=1")
    with no_descriptor_left():
        notify_systemd("WATCHDOG=1")

    assert "systemd was not told READY=1: No such file or directory" in caplog.text
    assert "systemd was not told WATCHDOG=1: Too many open files" in caplog.text
