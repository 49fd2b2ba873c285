"""What the user of `setup` wants: by options, or asked for; a plan comes out of it."""

from __future__ import annotations

import secrets as randomness
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hsm_agent.cli.setup.plan import NewSecret, PlannedSource, secret_reference
from hsm_agent.net.address import Address
from hsm_agent.net.http_settings import HttpUrl
from hsm_agent.settings.secret import SecretError, read_private_file
from hsm_agent.text import one_line
from hsm_agent.wire.snmp.usm import MIN_SECRET_OCTETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hsm_agent.cli.setup.look import SeenModule

_MADE_OCTETS = 24
_WRITE_A_GLOB = "name a label, a serial number or a glob; * is all"
SYSTEM_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where Debian, RHEL, SUSE and Alpine keep the certificates that the host trusts."""
NONE_FOUND = "no token was found to watch; name the module (--module), and what it needs (--environment NAME=VALUE)"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupOptions:
    """The options of the verb, as they were given; None and empty where they were not."""

    to: Path | None
    user: str | None
    name: str | None
    module: tuple[Path, ...]
    environment: tuple[str, ...]
    token: tuple[str, ...]
    snmp_sink: str | None
    snmp_version: str
    snmp_type: str
    snmp_user: str
    snmp_auth_file: Path | None
    snmp_privacy_file: Path | None
    snmp_community_file: Path | None
    syslog_sink: str | None
    tls_ca: Path | None
    alertmanager_sink: str | None
    webhook_sink: str | None
    snmp_reader: str | None
    snmp_listen: str
    http_listen: str
    timeout: float
    prove: bool
    force: bool
    yes: bool


class WishError(Exception):
    """A wish cannot be fulfilled; the text names the option."""


@dataclass
class Wishes:
    """Asks what no option said, and collects what has to be written. With --yes nothing is asked."""

    options: SetupOptions
    secrets: list[NewSecret] = field(default_factory=list)

    def text(self, question: str, given: str | None, default: str = "", *, check: Callable[[str], object] = str) -> str:
        """What was given, else the answer, else the default; empty for none.

        `check` raises ValueError for an answer that will not do: it is asked for again. What was given is judged with
        the whole.
        """
        if given is not None or self.options.yes:
            return default if given is None else given
        while True:
            answer = str(click.prompt(question, default=default, show_default=bool(default))).strip()
            try:
                if answer:
                    check(answer)
            except ValueError as error:
                click.echo(one_line(str(error)))
            else:
                return answer

    def confirm(self, question: str) -> bool:
        return self.options.yes or click.confirm(question, default=True)

    def secret(self, name: str, question: str, file: Path | None) -> dict[str, str]:
        """A secret for a file of this name: read from a file, typed unseen, or made."""
        typed = "" if file is not None or self.options.yes else self._typed(question)
        if file is not None:
            try:
                value = read_private_file(file).removesuffix("\n")
            except SecretError as error:
                raise WishError(str(error)) from error
        else:
            value = typed or randomness.token_urlsafe(_MADE_OCTETS)
        self.secrets.append(NewSecret(name=name, value=value, is_made=file is None and not typed))
        return secret_reference(name)

    def _typed(self, question: str) -> str:
        while True:
            value = str(
                click.prompt(f"{question} (empty: one is made)", default="", hide_input=True, show_default=False)
            )
            if not value or len(value.encode()) >= MIN_SECRET_OCTETS or "community" in question:
                return value
            click.echo(f"SNMPv3 wants {MIN_SECRET_OCTETS} characters or more")


def chosen_sources(wishes: Wishes, seen: Sequence[SeenModule]) -> list[PlannedSource]:
    """The modules to watch, by number or all, with the tokens to watch in them. Raises WishError if there are none."""
    usable = [each for each in seen if not each.failure and (each.tokens or wishes.options.module)]
    if not usable:
        raise WishError(NONE_FOUND)
    wanted = _wanted(wishes, usable)
    tokens = [word.strip() for word in wishes.options.token]  # a label may hold a comma
    if "" in tokens:
        raise WishError(f"--token: {_WRITE_A_GLOB}")
    if not tokens:
        question = "Which tokens? Globs on label or serial; one without a wildcard is missed when it is gone"
        tokens = _tokens(wishes.text(question, None, "*", check=_tokens))
    return [*_sources(wanted, tuple(tokens))]


def _tokens(words: str) -> list[str]:
    if not (found := [word.strip() for word in words.split(",") if word.strip()]):
        raise ValueError(_WRITE_A_GLOB)
    return found


def _wanted(wishes: Wishes, usable: Sequence[SeenModule]) -> list[SeenModule]:
    if len(usable) == 1 or wishes.options.module:
        return [*usable]
    while True:
        words = wishes.text("Which modules? Their numbers, or all", None, "all").replace(",", " ").split()
        if words == ["all"]:
            return [*usable]
        known = {str(number): each for number, each in enumerate(usable, 1)}
        if words and known.keys() >= set(words):
            return [known[word] for word in dict.fromkeys(words)]
        click.echo(f"numbers from 1 to {len(usable)}, or all")


def _sources(modules: Sequence[SeenModule], tokens: tuple[str, ...]) -> Iterator[PlannedSource]:
    names: list[str] = []
    for each in modules:
        taken = names.count(each.module.vendor)
        names.append(each.module.vendor)
        yield PlannedSource(
            name=f"{each.module.vendor}-{taken + 1}" if taken else each.module.vendor,
            module=each.module.path,
            environment=each.module.environment,
            tokens=tokens,
            seen=tuple(f"{token.label or 'without a label'}, serial {token.serial}" for token in each.tokens),
        )


def chosen_sinks(wishes: Wishes) -> list[dict[str, object]]:
    """Who is told."""
    options = wishes.options
    found = []
    to = wishes.text(
        "SNMP notifications to (udp:HOST:162; empty: none)", options.snmp_sink, check=_address("udp", "udp6")
    )
    if to:
        found.append(_snmp_sink(wishes, to))
    to = wishes.text(
        "Syslog records to (relp+tls:, relp:, tls:, tcp: or udp:HOST:PORT; empty: none)",
        options.syslog_sink,
        check=_address("relp+tls", "relp", "tls", "tcp", "udp"),
    )
    if to:
        found.append(
            {"name": "siem", "kind": "syslog", "to": to, **_tls(wishes, "+tls" in to or to.startswith("tls:"))}
        )
    to = wishes.text(
        "Alerts to an Alertmanager (http://HOST:9093; empty: none)", options.alertmanager_sink, check=HttpUrl.parse
    )
    if to:
        found.append(
            {"name": "alertmanager", "kind": "alertmanager", "to": to, **_tls(wishes, to.startswith("https:"))}
        )
    if options.webhook_sink:
        tls = _tls(wishes, options.webhook_sink.startswith("https:"))
        found.append({"name": "webhook", "kind": "webhook", "to": options.webhook_sink, **tls})
    return found


def _tls(wishes: Wishes, is_wanted: bool) -> dict[str, object]:  # noqa: FBT001 - by the address
    if not is_wanted:
        return {}
    given = None if wishes.options.tls_ca is None else str(wishes.options.tls_ca)
    system = next((name for name in SYSTEM_CERTIFICATES if Path(name).is_file()), "")
    ca = wishes.text("File with the certificates of its CA (PEM)", given, system, check=_readable)
    return {"tls": {"ca": str(Path(ca).absolute())}} if ca else {}  # to a configuration it would be relative


def _readable(name: str) -> None:
    if not Path(name).is_file():
        raise ValueError(f"{name}: no such file")


def _address(*schemes: str) -> Callable[[str], object]:
    return lambda text: Address.parse(text, schemes)


def _one_of(*words: str) -> Callable[[str], object]:
    def check(answer: str) -> None:
        if answer not in words:
            raise ValueError(f"{' or '.join(words)}")

    return check


def _snmp_sink(wishes: Wishes, to: str) -> dict[str, object]:
    options = wishes.options
    version = wishes.text("  version, v3 or v2c", options.snmp_version or None, "v3", check=_one_of("v3", "v2c"))
    kind = wishes.text(
        "  inform (acknowledged) or trap", options.snmp_type or None, "inform", check=_one_of("inform", "trap")
    )
    sink: dict[str, object] = {"name": "noc", "kind": "snmp", "to": to, "version": version, "type": kind}
    if version == "v3":
        name = wishes.text("  user name", options.snmp_user or None, "hsm-agent")
        return {**sink, "user": _user(wishes, name, "noc", options.snmp_auth_file, options.snmp_privacy_file)}
    return {**sink, "community": wishes.secret("noc.community", "  community", options.snmp_community_file)}


def _user(wishes: Wishes, name: str, prefix: str, auth: Path | None, privacy: Path | None) -> dict[str, object]:
    return {
        "name": name,
        "auth": {
            "protocol": "SHA-256",
            "secret": wishes.secret(f"{prefix}.auth", "  authentication pass-phrase (SHA-256)", auth),
        },
        "privacy": {
            "protocol": "AES-128",
            "secret": wishes.secret(f"{prefix}.priv", "  privacy pass-phrase (AES-128)", privacy),
        },
    }


def chosen_server(wishes: Wishes) -> dict[str, object]:
    """Where SNMP is answered, and to whom."""
    name = wishes.text("SNMPv3 user of a manager that may read (empty: none)", wishes.options.snmp_reader)
    listen = wishes.options.snmp_listen
    if name:
        listen = wishes.text("  SNMP answers at", listen or None, "udp:127.0.0.1:1161", check=_address("udp", "udp6"))
    server: dict[str, object] = {"listen": [listen or "udp:127.0.0.1:1161"]}
    return {**server, "users": [_user(wishes, name, "nms", None, None)]} if name else server
