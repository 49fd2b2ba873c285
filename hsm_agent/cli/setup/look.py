"""What is behind a module: it is loaded by a worker of its own, through `hsm-agent poll`, as the agent's account."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsm_agent.cli.setup.account import run_verb
from hsm_agent.settings.trust import UntrustedError, refuse_untrusted
from hsm_agent.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hsm_agent.cli.setup.account import Account
    from hsm_agent.cli.setup.places import FoundModule

_START_SECONDS = 20.0
"""For the verb itself, beside the modules' time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenToken:
    """A token that has been initialized; `memory_used_percent` is None where the module tells none."""

    label: str
    serial: str
    model: str
    memory_used_percent: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenModule:
    """A module that was loaded, with its tokens; or why it cannot be watched."""

    module: FoundModule
    tokens: tuple[SeenToken, ...]
    failure: str


def look_at(
    modules: Sequence[FoundModule], account: Account, uids: frozenset[int], *, seconds: float
) -> list[SeenModule]:
    """Every module, side by side; one that hangs or crashes costs its own worker alone.

    A module that somebody who is not trusted could change is not loaded at all.
    """
    failures = {module.path: _refusal(module, uids) for module in modules}
    wanted = [module for module in modules if not failures[module.path]]
    answers = _polled(wanted, account, seconds) if wanted else {}
    return [_seen(module, failures[module.path], answers.get(str(module.path))) for module in modules]


def _refusal(module: FoundModule, uids: frozenset[int]) -> str:
    try:
        refuse_untrusted(module.path, uids)
    except UntrustedError as error:
        return str(error)
    except OSError as error:
        return f"{module.path}: {error.strerror}"
    return ""


def _polled(modules: Sequence[FoundModule], account: Account, seconds: float) -> dict[str, Any]:
    """What `poll` said of each module, by its path; a text where the verb as a whole failed."""
    sources = [
        {
            "name": str(number),
            "kind": "pkcs11",
            "module": str(module.path),
            "environment": dict(module.environment),
            "timeout": f"{seconds:g}s",
            "every": "1h",
        }
        for number, module in enumerate(modules)
    ]
    with tempfile.TemporaryDirectory(prefix="hsm-agent-setup-") as folder:
        file = Path(folder) / "agent.yaml"
        file.write_text(json.dumps({"sources": sources, "serve": {"snmp": None, "http": None}}), encoding="utf-8")
        if account.is_other:  # root's still: the account may read and not change it
            for path in (Path(folder), file):
                os.chown(path, 0, account.gid)
                path.chmod(0o750 if path.is_dir() else 0o640)
        result = run_verb(
            account, ["poll", "--format", "json", "--config", str(file)], seconds=seconds + _START_SECONDS
        )
    try:
        found = {each["source"]: each for each in json.loads(result.out)}
    except (ValueError, KeyError, TypeError):
        failure = "; ".join(result.errors[:3]) or f"hsm-agent poll ended with {result.code}"
        return {str(module.path): failure for module in modules}
    return {str(module.path): found.get(str(number)) for number, module in enumerate(modules)}


def _seen(module: FoundModule, failure: str, answer: Any) -> SeenModule:
    if failure or not isinstance(answer, dict):
        return SeenModule(module=module, tokens=(), failure=one_line(failure or str(answer or "no answer")))
    tokens = tuple(_tokens(answer["readings"]))
    failures = "; ".join(answer["failures"]) if not tokens else ""
    return SeenModule(module=module, tokens=tokens, failure=one_line(failures))


def _tokens(readings: Sequence[dict[str, Any]]) -> Iterator[SeenToken]:
    values = {(each["resource"], each["metric"]): each["value"] for each in readings}
    for each in readings:
        if each["metric"] == "token_info" and values.get((each["resource"], "token_initialized")) == 1:
            labels = each["labels"]
            yield SeenToken(
                label=str(labels.get("label", "")),
                serial=str(labels.get("serial", "")),
                model=str(labels.get("model", "")),
                memory_used_percent=values.get((each["resource"], "token_memory_private_used_percent")),
            )
