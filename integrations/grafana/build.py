"""Builds dashboard.json with grafana-foundation-sdk: `python -m integrations.grafana.build`."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import common, dashboard, gauge, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueGraphMode, GraphTresholdsStyleMode
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    DataTransformerConfig,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

if TYPE_CHECKING:
    from grafana_foundation_sdk.models.dashboard import Dashboard

FILE = Path(__file__).with_name("dashboard.json")
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
OBJECTS = 'instance=~"$instance",source=~"$source",resource=~"$resource"'
"""Of the tokens that are chosen."""
HSMS = 'instance=~"$instance",source=~"$source"'
"""Of the HSMs that are chosen: their resource is the HSM, not a token."""
OBJECT = "{{source}}/{{resource}}"
"""The name of a line."""
GREEN, YELLOW, RED = "green", "yellow", "red"
USE = ((None, GREEN), (70.0, YELLOW), (90.0, RED))
"""luna-monitor's thresholds of sessions and storage."""
MEMORY = ((None, GREEN), (75.0, YELLOW), (90.0, RED))
AUDIT = ((None, GREEN), (50.0, YELLOW), (80.0, RED))
TIME_TO_FULL = ((None, RED), (3600.0, YELLOW), (86400.0, GREEN))
"""The levels of the default rules token-memory, audit-fill and audit-time-to-full."""
PLAIN = ((None, GREEN),)
ANY = ((None, GREEN), (1.0, RED))
_Levels = tuple[tuple[float | None, str], ...]
_Panel = stat.Panel | gauge.Panel | table.Panel | timeseries.Panel


def build() -> Dashboard:
    """The whole dashboard."""
    made = (
        dashboard.Dashboard("HSMs")
        .uid("hsm-agent")
        .tags(["hsm", "hsm-agent"])
        .description("Tokens, audit stores and alarms as hsm-agent sees them. Made by integrations/grafana/build.py.")
        .time("now-24h", "now")
        .refresh("1m")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for name, metric in (("instance", "hsm_source_up"), ("source", "hsm_source_up"), ("resource", "hsm_token_present")):
        made.with_variable(_variable(name, metric))
    numbers = count(1)
    for title, panels in (("Now", _now()), ("Tokens", _tokens()), ("HSM", _hsm()), ("Forecast", _forecast())):
        made.with_row(dashboard.Row(title).id(next(numbers)))
        for panel in panels:
            made.with_panel(panel.id(next(numbers)))
    return made.build()


def text() -> str:
    """As the file holds it."""
    return JSONEncoder(sort_keys=True, indent=2).encode(build()) + "\n"


def _variable(name: str, metric: str) -> dashboard.QueryVariable:
    earlier = {"instance": "", "source": '{instance=~"$instance"}', "resource": f"{{{HSMS}}}"}[name]
    return (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .datasource(SOURCE)
        .query({"query": f"label_values({metric}{earlier}, {name})", "refId": name})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def _now() -> list[_Panel]:
    active, down = f"hsm_alarm_active{{{HSMS}}}", f"hsm_source_up{{{HSMS}}} == 0"
    return [
        _stat("Active alarms", f"count({active}) or vector(0)", levels=ANY),
        _stat("Sources down", f"count({down}) or vector(0)", levels=ANY),
        _stat("Total commands", f"sum(hsm_commands_total{{{HSMS}}})"),
        _table("Alarms", {"Active": active}, shown=("severity", "rule", "source", "resource", "metric", "instance")),
    ]


def _tokens() -> list[_Panel]:
    kinds = ("private", "public")
    memory = [(f"hsm_token_memory_{kind}_used_percent{{{OBJECTS}}}", f"{OBJECT} {kind}") for kind in kinds]
    used = f"hsm_token_storage_used_bytes{{{OBJECTS}}} / 1e6"
    return [
        _gauge("Session usage", f"hsm_token_sessions_used_percent{{{OBJECTS}}}", USE),
        _gauge("Storage usage", f"hsm_token_storage_used_percent{{{OBJECTS}}}", USE),
        _lines("Memory usage", memory, unit="percent", levels=MEMORY),
        _lines("Storage trend", [(used, OBJECT)], wide=6, unit="decmbytes"),
        _lines("Objects", [(f"hsm_token_objects{{{OBJECTS}}}", OBJECT)], wide=6),
        _lines("Sessions", [(f"hsm_token_sessions{{{OBJECTS}}}", OBJECT)], wide=6),
        _lines("Session change an hour", [(f"deriv(hsm_token_sessions{{{OBJECTS}}}[30m]) * 3600", OBJECT)], wide=6),
    ]


def _hsm() -> list[_Panel]:
    filling, firmware = f"hsm_audit_seconds_to_full{{{HSMS}}} < Inf", f"hsm_firmware_info{{{HSMS}}}"
    return [
        _lines("Operation rate", [(f"rate(hsm_commands_total{{{HSMS}}}[5m])", OBJECT)], unit="ops"),
        _gauge("Audit store", f"hsm_audit_used_percent{{{HSMS}}}", AUDIT),
        _stat("Audit store full in", filling, unit="s", levels=TIME_TO_FULL, none="not filling", wide=8),
        _table("Firmware", {"Info": firmware}, shown=("source", "resource", "version", "instance")),
    ]


def _forecast() -> list[_Panel]:
    """By the line through the last 30 days, as the rule storage-forecast draws it."""
    panels: list[_Panel] = []
    for what, metric in (("Storage", "token_storage"), ("Memory", "token_memory_private")):
        series = f"hsm_{metric}_used_percent{{{OBJECTS}}}"
        columns = {
            "now %": series,
            "in 14 days %": f"predict_linear({series}[30d], 14 * 86400)",
            "in 90 days %": f"predict_linear({series}[30d], 90 * 86400)",
        }
        panels.append(_table(f"{what} forecast", columns, shown=("source", "resource", *columns)))
    return panels


def _stat(
    title: str, query: str, *, unit: str = "short", levels: _Levels = PLAIN, none: str = "", wide: int = 4
) -> stat.Panel:
    panel = stat.Panel().title(title).unit(unit).thresholds(_thresholds(levels)).graph_mode(BigValueGraphMode.NONE)
    panel = panel.no_value(none) if none else panel
    panel = panel.datasource(SOURCE).height(8).span(wide).reduce_options(_last())
    return panel.with_target(_query(query, OBJECT).instant())


def _gauge(title: str, query: str, levels: _Levels) -> gauge.Panel:
    panel = gauge.Panel().title(title).unit("percent").min(0).max(100).thresholds(_thresholds(levels))
    panel = panel.datasource(SOURCE).height(8).span(8).reduce_options(_last())
    return panel.with_target(_query(query, OBJECT).instant())


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"])


def _lines(
    title: str, queries: list[tuple[str, str]], *, unit: str = "short", levels: _Levels = (), wide: int = 8
) -> timeseries.Panel:
    panel = timeseries.Panel().title(title).unit(unit).datasource(SOURCE).height(8).span(wide).fill_opacity(10)
    if levels:
        style = common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.LINE)
        panel = panel.thresholds(_thresholds(levels)).thresholds_style(style).min(0).max(100)
    for letter, (query, legend) in zip("AB", queries, strict=False):
        panel.with_target(_query(query, legend).ref_id(letter))
    return panel


def _table(title: str, columns: dict[str, str], *, shown: tuple[str, ...]) -> table.Panel:
    """A row for each object: its labels, then a column for each query."""
    panel = table.Panel().title(title).datasource(SOURCE).height(8).span(12)
    single = len(columns) == 1
    names: dict[str, str] = {}
    for letter, (name, query) in zip("ABC", columns.items(), strict=False):
        panel.with_target(_query(query, "").ref_id(letter).instant().format(PromQueryFormat.TABLE))
        names["Value" if single else f"Value #{letter}"] = name
    hidden = dict.fromkeys(("Time", "__name__", "job", *(("Value",) if single else ("instance",))), True)
    order = {name: number for number, name in enumerate(column for column in shown if column not in columns)}
    panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    arranged = {"excludeByName": hidden, "indexByName": order, "renameByName": names}
    return panel.with_transformation(DataTransformerConfig(id_val="organize", options=arranged))


def _query(query: str, legend: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().datasource(SOURCE).ref_id("A").expr(query).legend_format(legend)


def _thresholds(levels: _Levels) -> dashboard.ThresholdsConfig:
    steps = [Threshold(value=value, color=color) for value, color in levels]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
