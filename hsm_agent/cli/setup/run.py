"""Find, show, ask, write, prove. Each step says what it did, and whatever fails is said in one line."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hsm_agent.cli import BAD_CONFIGURATION, FAILED
from hsm_agent.cli.options import fail, schema_file
from hsm_agent.cli.setup.account import NoAccountError, group_name, run_verb, service_account, trusting
from hsm_agent.cli.setup.look import look_at
from hsm_agent.cli.setup.places import find_modules, named_module
from hsm_agent.cli.setup.plan import CONFIGURATION, SetupPlan
from hsm_agent.cli.setup.running import RunningAgent
from hsm_agent.cli.setup.wishes import WishError, Wishes, chosen_server, chosen_sinks, chosen_sources
from hsm_agent.cli.setup.writing import (
    in_the_way,
    make_folder,
    make_state_directory,
    rehearse,
    write,
)
from hsm_agent.evaluate.messages import counted
from hsm_agent.settings.errors import ConfigError
from hsm_agent.settings.trust import TRUSTED_UIDS, UntrustedError, refuse_untrusted, trusted_uids
from hsm_agent.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsm_agent.cli.setup.look import SeenModule
    from hsm_agent.cli.setup.places import FoundModule
    from hsm_agent.cli.setup.wishes import SetupOptions

SYSTEM_FOLDER = Path("/etc/hsm-agent")
SYSTEM_STATE = Path("/var/lib/hsm-agent")
SYSTEM_SOCKET = Path("/run/hsm-agent/control")
_CHECK_SECONDS = 60.0
_PROOF_SECONDS = 90.0


class SetupRun:
    """One run of the verb."""

    def __init__(self, options: SetupOptions) -> None:
        self.options = options
        self.wishes = Wishes(options)
        self.may_replace = options.force
        if sys.stdin is None and not options.yes:
            fail("standard input is closed, so that nobody can be asked; --yes asks nothing")
        try:
            self.account = service_account(options.user)
            self.environment = {**os.environ, **trusting(self.account, os.environ)}
            self.uids = trusted_uids(self.environment)
        except (NoAccountError, ValueError) as error:
            fail(str(error))
        is_root = os.geteuid() == 0
        self.folder = (options.to or (SYSTEM_FOLDER if is_root else Path("hsm-agent"))).absolute()

    def run(self) -> None:
        """Exits with what became of it."""
        self._ask_to_replace([path for path in [self.folder / CONFIGURATION] if path.is_symlink() or path.exists()])
        self._refuse_untrusted_folder()
        try:
            seen = self._look()
            plan = self._plan(seen)
            rehearse(plan, self.account, os.environ)
        except WishError as error:
            fail(str(error))
        except ConfigError as error:
            for line in error.lines:
                click.echo(f"hsm-agent: {line}", err=True)
            fail("nothing was written", BAD_CONFIGURATION)
        except OSError as error:
            fail(f"{error.filename}: {error.strerror}")
        self._write(plan)
        is_valid = self._check()
        is_proved = self._prove(plan) if is_valid and plan.sinks and self.options.prove else True
        self._tell_how_to_start()
        sys.exit(0 if is_valid and is_proved else FAILED)

    def _refuse_untrusted_folder(self) -> None:
        """Where others can change it, the agent would refuse the configuration, and root would write where they say."""
        there = next(each for each in (self.folder, *self.folder.parents) if each.is_symlink() or each.exists())
        try:
            refuse_untrusted(there, self.uids)
        except UntrustedError as error:
            fail(str(error))
        except OSError as error:
            fail(f"{error.filename}: {error.strerror}")

    def _look(self) -> list[SeenModule]:
        modules = self._modules()
        click.echo(f"{counted(len(modules), 'PKCS#11 modules')}, looked at as user {self.account.name}")
        seen = look_at(modules, self.account, self.uids, seconds=self.options.timeout)
        number = 0
        for each in seen:
            if each.failure:
                click.echo(f"  -  {each.module.title}  {each.module.path}\n     skipped: {each.failure}")
                continue
            number += bool(each.tokens) or bool(self.options.module)
            mark = f"{number:2}" if each.tokens or self.options.module else " -"
            click.echo(f" {mark}  {each.module.title}  {each.module.path}: {counted(len(each.tokens), 'tokens')}")
            for token in each.tokens:
                used = token.memory_used_percent
                told = "private memory unknown" if used is None else f"private memory {used:.0f} % used"
                click.echo(one_line(f"       {token.label or '-'}  serial {token.serial}  {token.model}  {told}"))
        if self.account.is_other and not all(each.tokens for each in seen):
            click.echo(f"  {self.account.name} has not the groups that only its unit gives it (SupplementaryGroups=)")
        return seen

    def _modules(self) -> list[FoundModule]:
        if not self.options.module:
            return find_modules(os.environ)
        pairs = [word.partition("=") for word in self.options.environment]
        if bad := [name for name, mark, _ in pairs if not (name and mark)]:
            fail(f"--environment {bad[0]}: write NAME=VALUE")
        given = {name: value for name, _, value in pairs}
        found = [named_module(path.absolute(), os.environ) for path in self.options.module]
        return [replace(each, environment={**each.environment, **given}) for each in found]

    def _plan(self, seen: Sequence[SeenModule]) -> SetupPlan:
        sources = chosen_sources(self.wishes, seen)
        sinks = chosen_sinks(self.wishes)
        is_system = self.folder == SYSTEM_FOLDER
        agent: dict[str, object] = {"name": self.options.name} if self.options.name else {}
        agent["state_directory"] = str(self._state_directory)
        if is_system:
            agent["control_socket"] = str(SYSTEM_SOCKET)
        schema = schema_file()
        return SetupPlan(
            agent=agent,
            sources=sources,
            sinks=sinks,
            snmp=chosen_server(self.wishes),
            http_listen=self.options.http_listen,
            secrets=self.wishes.secrets,
            schema=schema if schema.exists() else None,
            date=datetime.now().astimezone().date().isoformat(),
        )

    @property
    def _state_directory(self) -> Path:
        return SYSTEM_STATE if self.folder == SYSTEM_FOLDER else self.folder / "var"

    def _write(self, plan: SetupPlan) -> None:
        self._ask_to_replace(in_the_way(self.folder, plan))
        wanted = counted(len(plan.secrets), "secrets")
        if not self.wishes.confirm(f"Write {self.folder / CONFIGURATION} and {wanted}?"):
            fail("nothing was written")
        try:
            make_folder(self.folder, self.account)
            self._refuse_untrusted_folder()  # once more: it may have been made by others meanwhile
            written = write(plan, self.folder, self.account)
            make_state_directory(self._state_directory, self.account)
        except OSError as error:
            fail(f"{error.filename}: {error.strerror}")
        made = {secret.name for secret in plan.secrets if secret.is_made}
        for path in written:
            found = path.stat()
            note = ", made at random: its receiver must be given it" if path.name in made else ""
            click.echo(f"wrote {path}  {found.st_mode & 0o777:04o} {found.st_uid}:{group_name(found.st_gid)}{note}")

    def _ask_to_replace(self, there: Sequence[Path]) -> None:
        """Once: a person may say so, a script says --force. The configuration that was there is kept beside the new."""
        if not there or self.may_replace:
            return
        names = ", ".join(map(str, there))
        if self.options.yes or not click.confirm(f"{names}: there already. Replace?", default=False):
            fail(f"{names}: there already; --force replaces")
        self.may_replace = True

    def _check(self) -> bool:
        """Whether the account can load what was written; else the reasons are said."""
        result = run_verb(self.account, ["check-config", "--config", self._file], seconds=_CHECK_SECONDS)
        if result.code:
            for line in result.errors:
                click.echo(f"hsm-agent: as user {self.account.name}: {line}", err=True)
            return False
        shown = [line for line in result.out.splitlines() if line.startswith(("sink ", "source "))]
        click.echo(f"check-config, as user {self.account.name}: valid")
        for line in [*shown, *(line.strip() for line in result.out.splitlines() if "createUser" in line)]:
            click.echo(f"  {line}")
        return True

    def _prove(self, plan: SetupPlan) -> bool:
        if not self.wishes.confirm(f"Send a test notification to {counted(len(plan.sinks), 'receivers')}?"):
            return True
        control = self._state_directory / "control" if self.folder != SYSTEM_FOLDER else SYSTEM_SOCKET
        agent = RunningAgent(control)
        if agent.is_there():
            if not self.wishes.confirm("An agent is running on this state. Reload it, and test through it?"):
                return True
            proofs, failures = agent.prove([str(sink["name"]) for sink in plan.sinks])
        else:
            words = ["test-notification", "--directly", "--config", self._file]
            result = run_verb(self.account, words, seconds=_PROOF_SECONDS)
            proofs, failures = result.out.splitlines(), result.errors
            if result.code and not failures:
                failures = ("not every receiver could be proved; the configuration stays as it was written",)
        for line in proofs:
            click.echo(one_line(f"test {line}"))
        for line in failures:
            click.echo(one_line(f"hsm-agent: {line}"), err=True)
        return not failures

    @property
    def _file(self) -> str:
        return str(self.folder / CONFIGURATION)

    def _tell_how_to_start(self) -> None:
        if self.folder == SYSTEM_FOLDER:
            click.echo(
                "start it: systemctl enable --now hsm-agent; one that runs takes it by: systemctl reload hsm-agent"
            )
            return
        trusted = trusting(self.account, os.environ).get(TRUSTED_UIDS)
        words = f"{TRUSTED_UIDS}={trusted} " if trusted else ""
        click.echo(f"start it: {words}hsm-agent run --config {shlex.quote(self._file)}")
