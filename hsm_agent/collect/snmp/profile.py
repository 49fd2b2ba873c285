"""What is read of an appliance over SNMP, and what it means: the form of profiles and of `custom` entries.

Profiles are data files beside this module. They hold numeric OIDs and words of our own, no vendor's MIB text.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Annotated, Literal, Self

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from hsm_agent.metrics import CUSTOM_PREFIX, METRICS, is_custom, unit
from hsm_agent.settings.types import Strict
from hsm_agent.text import suggestion
from hsm_agent.wire.snmp.ber import parse_oid

_FOLDER = files("hsm_agent.collect.snmp") / "profiles"
_MOST_ROWS = 4096
_SHORTEST_OID = 2


def _oid(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return value
    return parse_oid(value)


def _whole(oid: tuple[int, ...]) -> tuple[int, ...]:
    if len(oid) < _SHORTEST_OID or oid[0] != 1:
        raise ValueError("not a whole OID: it begins with 1.3.6")
    return oid


def _metric(name: str) -> str:
    if name in METRICS or is_custom(name):
        return name
    hint = suggestion(name, METRICS) or f", one of your own begins with '{CUSTOM_PREFIX}'"
    raise ValueError(f"there is no metric '{name}'{hint}")


def _value_metric(name: str) -> str:
    if name.endswith("_info"):
        raise ValueError(f"'{name}' has labels for its content: it belongs under `infos`")
    return name


def _info_metric(name: str) -> str:
    if not name.endswith("_info"):
        raise ValueError(f"'{name}' is no metric of labels: its name would end in _info")
    return name


OidPrefix = Annotated[tuple[int, ...], BeforeValidator(_oid), Field(min_length=1)]
WholeOid = Annotated[OidPrefix, AfterValidator(_whole)]
MetricName = Annotated[str, AfterValidator(_metric)]
ValueMetric = Annotated[MetricName, AfterValidator(_value_metric)]
InfoMetric = Annotated[MetricName, AfterValidator(_info_metric)]
Read = Literal["number", "signed", "unsigned", "state", "flag", "text", "date"]


def _texts(value: object) -> object:
    """YAML reads `1:` as a number and `OK: true` as a state; both are texts here."""
    return {str(key): state for key, state in value.items()} if isinstance(value, dict) else value


def _all_texts(value: object) -> object:
    return {str(key): str(text) for key, text in value.items()} if isinstance(value, dict) else value


States = Annotated[dict[str, float | str | None], BeforeValidator(_texts)]


class ProfileValue(Strict):
    """One object, or in a table one column. `name` is what shares, infos and `resource` call it; else the metric is."""

    oid: OidPrefix
    metric: ValueMetric | None = None
    name: str = ""
    unit: str | None = None
    read: Read | None = None
    scale: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    states: States = Field(default_factory=dict)
    resource: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    limit: str = ""
    inferred: bool = False

    @property
    def called(self) -> str:
        """What others refer to it by."""
        return self.name or self.metric or ""

    @property
    def form(self) -> Read:
        """How the value is understood."""
        return self.read or ("state" if self.states else "number")

    @model_validator(mode="after")
    def _is_of_use(self) -> Self:
        if self.metric is None and not self.name:
            raise ValueError("give it a metric, or a name that something else refers to")
        if self.unit is not None and self.unit != unit(self.metric or ""):
            raise ValueError(f"unit: the name of '{self.metric}' says {unit(self.metric or '') or 'no unit'}")
        if self.metric is not None and self.form == "text":
            raise ValueError("read: a text is no value of a metric; put it under `infos`")
        return self


class Share(Strict):
    """A percentage of values of the same scope: (part - less) of whole; with `change`, of what each grew by."""

    metric: ValueMetric
    part: str
    less: tuple[str, ...] = ()
    whole: str
    change: bool = False

    @model_validator(mode="after")
    def _is_percent(self) -> Self:
        if unit(self.metric) != "percent":
            raise ValueError(f"metric: a share is a percentage, and '{self.metric}' is not")
        return self


class Info(Strict):
    """Texts of the same scope as labels: `labels` maps a label's name to the value's."""

    metric: InfoMetric
    labels: dict[str, str] = Field(min_length=1)


class Link(Strict):
    """Whether a network interface is up, from its wanted and its real state (RFC 2863, ifAdminStatus and ifOperStatus).

    `kind` is its ifType: loopbacks are none. `traffic` are counters of it: one that never carried anything and was
    never seen up is not missed.
    """

    metric: ValueMetric
    wanted: str
    real: str
    kind: str = ""
    traffic: tuple[str, ...] = ()


class _Scope(Strict):
    """Values, and what is made of them."""

    values: tuple[ProfileValue, ...] = ()
    shares: tuple[Share, ...] = ()
    infos: tuple[Info, ...] = ()

    def _missing(self, more: tuple[str, ...] = ()) -> str | None:
        """A name that something refers to and no value has."""
        known = {value.called for value in self.values}
        asked = [name for share in self.shares for name in (share.part, *share.less, share.whole)]
        asked += [name for info in self.infos for name in info.labels.values()]
        asked += [value.limit for value in self.values if value.limit]
        return next((name for name in (*asked, *more) if name not in known), None)

    def metrics(self) -> set[str]:
        """Names of all metrics that may come of it."""
        named = {value.metric for value in self.values if value.metric}
        return named | {share.metric for share in self.shares} | {info.metric for info in self.infos}


class ProfileTable(_Scope):
    """A conceptual table. `oid` is its entry's; a value's `oid` is its column. Each row is a resource."""

    oid: WholeOid
    resource: tuple[str, ...] = ()
    prefix: str = ""
    index: Literal["number", "text"] = "number"
    rows: Annotated[int, Field(gt=0, le=_MOST_ROWS)] = 256
    where: Annotated[dict[str, str], BeforeValidator(_all_texts)] = Field(default_factory=dict)
    links: tuple[Link, ...] = ()

    @model_validator(mode="after")
    def _refers_to_values(self) -> Self:
        if not self.values:
            raise ValueError("values: a table without columns")
        linked = [name for link in self.links for name in (link.wanted, link.real, link.kind, *link.traffic) if name]
        missing = self._missing((*self.resource, *self.where, *linked))
        if missing is not None:
            raise ValueError(f"no value of this table is called '{missing}'")
        return self

    def metrics(self) -> set[str]:
        return super().metrics() | {link.metric for link in self.links}


class Profile(_Scope):
    """What is read of one kind of appliance."""

    tables: tuple[ProfileTable, ...] = ()

    @model_validator(mode="after")
    def _refers_to_values(self) -> Self:
        missing = self._missing()
        if missing is not None:
            raise ValueError(f"no value is called '{missing}'")
        for index, value in enumerate(self.values):
            if len(value.oid) < _SHORTEST_OID or value.oid[0] != 1:
                raise ValueError(f"values.{index}.oid: not a whole OID: it begins with 1.3.6")
        shown = [(value.metric, value.resource, *sorted(value.labels.items())) for value in self.values if value.metric]
        if len(set(shown)) < len(shown):
            twice = next(each for index, each in enumerate(shown) if each in shown[:index])
            raise ValueError(f"two values are '{twice[0]}' of one resource: give one a resource or labels")
        if not self.values and not self.tables:
            raise ValueError("nothing to read: give values or tables")
        return self

    def metrics(self) -> set[str]:
        return super().metrics().union(*(table.metrics() for table in self.tables))


@cache
def names() -> tuple[str, ...]:
    """The profiles that come with the agent."""
    found = (file.name for file in _FOLDER.iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml")))


@cache
def profile(name: str) -> Profile:
    """A profile that comes with the agent. Raises ValueError with the nearest name for one that does not."""
    if name not in names():
        raise ValueError(f"no profile '{name}'{suggestion(name, names()) or ', there are ' + ', '.join(names())}")
    return Profile.model_validate(yaml.safe_load((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))
