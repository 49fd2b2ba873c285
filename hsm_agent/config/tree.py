"""The tree of settings: the keys of a configuration file, with their types and defaults; and reading it.

A bad configuration is refused whole, with a line for each error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from hsm_agent.collect.base import AnySource
from hsm_agent.config.agent import AgentSettings
from hsm_agent.config.document import read
from hsm_agent.config.rules import RuleSettings, check_declared, effective_rules
from hsm_agent.deliver import AnySink
from hsm_agent.model import AGENT_SOURCE
from hsm_agent.serve.settings import Hide, HttpSettings, SnmpServerSettings
from hsm_agent.settings.errors import ConfigError, explain
from hsm_agent.settings.trust import UntrustedError, refuse_untrusted, trusted_uids
from hsm_agent.settings.types import ByName, Strict, refuse_doubles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from hsm_agent.collect.base import SourceSettings
    from hsm_agent.config.publish import PublishSettings
    from hsm_agent.evaluate.rules import Rule
    from hsm_agent.group.settings import GroupSettings
    from hsm_agent.model import Labels, Series
    from hsm_agent.net.tls import TlsSettings

    MayGroup = GroupSettings | None
    MayPublish = PublishSettings | None
else:
    # TLS, URLs and all of etcd are loaded where they are configured.
    MayGroup = Annotated[Any, ByName("hsm_agent.group.settings:GroupSettings")] | None
    MayPublish = Annotated[Any, ByName("hsm_agent.config.publish:PublishSettings")] | None


def _place(glob: str) -> str:
    source, slash, token = glob.partition("/")
    if not (source and slash and token):
        raise ValueError(f"not SOURCE/TOKEN: {glob!r} (write luna-a/*)")
    return glob


HsmName = Annotated[str, Field(min_length=1, max_length=64)]
HsmGlob = Annotated[str, AfterValidator(_place)]
HTTP_CERTIFICATE = "serve.http"
"""The resource of the HTTP side's own certificate, among the agent's readings of itself."""


@dataclass(frozen=True, slots=True)
class TlsUse:
    """TLS of the agent's own that is no sink's. `name`: where it is configured, and the resource of its readings."""

    name: str
    tls: TlsSettings

    def own_tls(self) -> TlsSettings:
        """As a sink has it."""
        return self.tls


def tls_uses(
    publish: PublishSettings | None, sources: Iterable[SourceSettings], group: GroupSettings | None = None
) -> Iterator[TlsUse]:
    """Where the group, publishing and sources use TLS."""
    if group is not None and group.etcd.tls is not None:
        yield TlsUse("group.etcd", group.etcd.tls)
    if publish is not None and publish.servers.tls is not None and not is_through_group(publish, group):
        yield TlsUse("publish.etcd", publish.servers.tls)
    for source in sources:
        if (tls := source.own_tls()) is not None:
            yield TlsUse(f"sources.{source.name}", tls)


def is_through_group(publish: PublishSettings, group: GroupSettings | None) -> bool:
    """Whether the status is published through the group's own servers."""
    return group is not None and publish.servers == group.etcd


class ServeSettings(Strict):
    """The servers."""

    snmp: SnmpServerSettings | None = Field(default_factory=SnmpServerSettings)
    http: HttpSettings | None = HttpSettings.model_construct()
    hide: Hide = ()

    @model_validator(mode="after")
    def _hide_reaches_every_view(self) -> Self:
        if not self.hide:
            return self
        snmp = None if self.snmp is None else self.snmp.hiding(self.hide)
        http = None if self.http is None else self.http.hiding(self.hide)
        return self.model_copy(update={"snmp": snmp, "http": http})

    def hides_anything(self) -> bool:
        """Whether any view shows pseudonyms."""
        hidden = [] if self.http is None else [self.http.hide]
        if self.snmp is not None:
            hidden += [user.hide for user in self.snmp.users] + [one.hide for one in self.snmp.communities]
        return any(hidden)


class Config(Strict):
    """The whole configuration."""

    agent: AgentSettings = Field(default_factory=AgentSettings)
    sources: tuple[AnySource, ...] = ()
    hsms: dict[HsmName, Annotated[tuple[HsmGlob, ...], Field(min_length=1)]] = Field(default_factory=dict)
    rules: tuple[RuleSettings, ...] = ()
    default_rules: bool = True
    serve: ServeSettings = Field(default_factory=ServeSettings)
    deliver: tuple[AnySink, ...] = ()
    publish: MayPublish = None
    group: MayGroup = None

    @field_validator("sources", "rules", "deliver", mode="before")
    @classmethod
    def _empty_list(cls, value: object) -> object:
        return () if value is None else value

    @field_validator("hsms", "serve", mode="before")
    @classmethod
    def _empty_group(cls, value: object) -> object:
        return {} if value is None else value

    @model_validator(mode="after")
    def _is_published_somewhere(self) -> Self:
        if self.publish is None or self.publish.etcd is not None:
            return self
        if self.group is None:
            raise ValueError("publish.etcd: required key is missing")
        return self.model_copy(update={"publish": self.publish.model_copy(update={"etcd": self.group.etcd})})

    @model_validator(mode="after")
    def _others_know_it_by_name(self) -> Self:
        if self.publish is not None or self.group is not None:
            from hsm_agent.wire.agent_report import NoReportError, key_of, name_of  # noqa: PLC0415 - for those alone

            try:
                name_of(key_of(self.agent.name).encode())
            except NoReportError:
                raise ValueError("agent.name: cannot be shown as it is, so others cannot know it by that") from None
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for place, names in (
            ("sources", [source.name for source in self.sources]),
            ("rules", [rule.name for rule in self.rules]),
            ("deliver", [sink.name for sink in self.deliver]),
        ):
            refuse_doubles(place, names, "things")
            if place == "sources" and AGENT_SOURCE in names:
                index = names.index(AGENT_SOURCE)
                raise ValueError(f"{place}.{index}.name: {AGENT_SOURCE!r} is the agent itself; choose another name")
        twice = [glob for globs in self.hsms.values() for glob in globs]
        for glob in twice:
            if twice.count(glob) > 1:
                raise ValueError(f"hsms: {glob!r} stands twice; a token is on one HSM")
        check_declared(
            (rule.metric or () for rule in self.rules),
            frozenset().union(*(source.declares() for source in self.sources)),
        )
        self.effective_rules()
        return self

    def effective_rules(self) -> tuple[Rule, ...]:
        """The default rules with their overrides, and the configured ones; the disabled left out."""
        return effective_rules(self.rules, default_rules=self.default_rules)

    def labels_by_source(self) -> dict[str, Labels]:
        """The agent's labels, with each source's own on top, by source."""
        common = self.agent.labels
        named = {source.name: source.labels for source in self.sources}
        return {name: tuple(sorted({**common, **own}.items())) for name, own in {AGENT_SOURCE: {}, **named}.items()}

    def is_configured(self) -> Callable[[Series], bool]:
        """A predicate: whether the source of a series, or the sink it is about, is in this configuration."""
        sources = {AGENT_SOURCE, *(source.name for source in self.sources)}
        sinks = {sink.name for sink in self.deliver}
        with_certificates = {sink.name for sink in self.deliver if sink.own_tls() is not None}
        with_certificates.update(use.name for use in tls_uses(self.publish, self.sources, self.group))
        if self.serve.http is not None and self.serve.http.web_config is not None:
            with_certificates.add(HTTP_CERTIFICATE)

        def keeps(series: Series) -> bool:
            source, resource, metric, _ = series
            if source == AGENT_SOURCE and metric.startswith("sink_"):
                return resource in sinks
            if source == AGENT_SOURCE and metric.startswith("publish_"):
                return self.publish is not None
            if source == AGENT_SOURCE and metric.startswith("group_"):
                return self.group is not None
            if source == AGENT_SOURCE and metric.startswith("certificate_"):
                return any(resource == name or resource.startswith(f"{name}/") for name in with_certificates)
            return source in sources

        return keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A configuration, where it came from, and the SHA-256 of what was read (file and overrides)."""

    config: Config
    path: Path
    digest: str


def load(path: Path, environment: Mapping[str, str]) -> Loaded:
    """Read, override, validate. Raises ConfigError with a line for each thing that is wrong.

    Who may have written the file, the modules and the commands is not configured in it: see `settings.trust`.
    """
    try:
        uids = trusted_uids(environment)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    _refuse(path, "the configuration file", uids)
    document = read(path, environment)
    try:
        config = Config.model_validate(document.tree, context={"base": document.base})
    except ValidationError as error:
        raise ConfigError(document.locate(explain(error, Config))) from error
    for index, source in enumerate(config.sources):
        for key, file in source.trusted_files().items():
            (place,) = document.locate([f"sources.{index}.{key}:"])
            _refuse(file, place.removesuffix(":"), uids)
    return Loaded(config=config, path=path, digest=document.digest)


def _refuse(path: Path, what: str, uids: frozenset[int]) -> None:
    """Raise ConfigError where other users could change the file or, while there is none, create it."""
    try:
        refuse_untrusted(path, uids)
    except UntrustedError as error:
        raise ConfigError([f"{what}: {error}"]) from error
    except FileNotFoundError:
        return  # its folders were checked; whatever reads the file reports that it is missing
    except OSError as error:
        raise ConfigError([f"{what}: {path}: {error.strerror}"]) from error
