"""`hsm-agent group` against a control socket that answers what the test says."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from hsm_agent.cli.main import cli
from hsm_agent.serve.group import group_document
from tests.fakes.groups import WELL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result


@contextmanager
def answering(folder: Path, answer: dict[str, Any]) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """A configuration whose control socket gives this one answer, and what it was asked."""
    control, asked = folder / "control", []
    config = folder / "agent.yaml"
    config.write_text(f"agent: {{control_socket: {control}}}\n", encoding="utf-8")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(control))
        listener.listen(1)
        listener.settimeout(10)

        def serve() -> None:
            client, _ = listener.accept()
            with client, client.makefile("rb") as stream:
                asked.append(json.loads(stream.readline()))
                client.sendall(json.dumps(answer).encode() + b"\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield config, asked
        thread.join(timeout=10)


def group(config: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["group", *words, "--config", str(config)])


def test_the_exit_code_says_whether_the_group_is_well(tmp_path: Path) -> None:
    well = {"ok": True, "group": group_document(WELL), "troubles": []}
    with answering(tmp_path, well) as (config, asked):
        shown = group(config, "status")
    (tmp_path / "control").unlink()
    with answering(tmp_path, {**well, "troubles": ["a is not there"]}) as (config, _):
        degraded = group(config, "status", "--format", "json")

    assert (shown.exit_code, asked) == (0, [{"verb": "group-status"}])
    assert "group emea: standby, a leads" in shown.stdout
    assert degraded.exit_code == 2
    assert json.loads(degraded.stdout)["troubles"] == ["a is not there"]


def test_what_is_not_well_stands_on_standard_error(tmp_path: Path) -> None:
    trouble = {"ok": True, "group": group_document(replace(WELL, leader="")), "troubles": ["nobody leads"]}
    with answering(tmp_path, trouble) as (config, _):
        shown = group(config, "status")

    assert (shown.exit_code, shown.stderr) == (2, "hsm-agent: nobody leads\n")


def test_an_agent_that_does_not_run_or_is_in_no_group_is_exit_1(tmp_path: Path) -> None:
    with answering(tmp_path, {"ok": False, "error": "this agent is a member of no group"}) as (config, _):
        alone = group(config, "status")
    (tmp_path / "control").unlink()

    assert (alone.exit_code, alone.stderr) == (1, "hsm-agent: this agent is a member of no group\n")
    assert group(config, "status").exit_code == 1


def test_the_lead_is_yielded_to_whom_it_is_meant_for(tmp_path: Path) -> None:
    with answering(tmp_path, {"ok": True, "text": "b may lead"}) as (config, asked):
        done = group(config, "yield", "--to", "b")

    assert (done.exit_code, done.stdout) == (0, "b may lead\n")
    assert asked == [{"verb": "group-yield", "to": "b"}]
