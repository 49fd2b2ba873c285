from __future__ import annotations

import math
from dataclasses import replace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from hsm_agent.metrics import METRICS
from hsm_agent.model import Labels, Severity
from hsm_agent.serve.http.exposition import exposed_name, exposition, families, label_name, near, select
from hsm_agent.store import Store
from tests.fakes.present import NOW, known_snapshot, known_store, make_alarm, make_reading, snapshot_of

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROMETHEUS_ASKS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


def lines(store: Store, name: str) -> list[str]:
    """The samples of one family."""
    text = exposition(snapshot_of(store), "")[0].decode()
    return [line for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} "))]


def empty_store(labels: Labels = ()) -> Store:
    return Store(agent_name="a", started=NOW, labels={"luna-a": labels})


def test_an_unavailable_reading_is_absent_and_not_zero() -> None:
    store = empty_store()
    store.update([make_reading("token_sessions", None)])

    assert lines(store, "hsm_token_sessions") == []


def test_zero_is_told() -> None:
    store = empty_store()
    store.update([make_reading("token_sessions", 0)])

    assert lines(store, "hsm_token_sessions") == ['hsm_token_sessions{resource="payments",source="luna-a"} 0.0']


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("token_sessions", "hsm_token_sessions"),
        ("hsm_commands_total", "hsm_commands_total"),
        ("process_open_fds", "hsm_process_open_fds"),
    ],
)
def test_the_prefix_is_there_once(metric: str, expected: str) -> None:
    assert exposed_name(metric) == expected


@pytest.mark.parametrize(("value", "text"), [(math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN")])
def test_numbers_without_digits_are_spelt_as_prometheus_does(value: float, text: str) -> None:
    store = empty_store()
    store.update([make_reading("audit_seconds_to_full", value)])

    assert lines(store, "hsm_audit_seconds_to_full")[0].endswith(f" {text}")


def test_what_identifies_a_reading_wins_over_its_own_labels_and_these_over_configured_ones() -> None:
    store = empty_store((("resource", "configured"), ("role", "configured"), ("site", "configured")))
    store.update([make_reading("token_objects", 1, labels=(("role", "own"), ("source", "own")))])

    (line,) = lines(store, "hsm_token_objects")

    assert line == 'hsm_token_objects{resource="payments",role="own",site="configured",source="luna-a"} 1.0'


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("environment", "environment"),
        ("rack-unit", "rack_unit"),
        ("9th", "_9th"),
        ("__name__", "_name__"),
        ("größe", "gr__e"),
        ('a"}\n', "a___"),
        ("", "_"),
    ],
)
def test_label_names_are_made_legal(name: str, expected: str) -> None:
    assert label_name(name) == expected


def test_series_that_differ_only_in_an_empty_label_are_one_and_the_last_wins() -> None:
    store = empty_store()
    store.update([make_reading("token_objects", 1), make_reading("token_objects", 2, labels=(("role", ""),))])

    (line,) = lines(store, "hsm_token_objects")

    assert line.endswith(" 2.0")


def test_label_names_that_become_the_same_do_not_make_a_series_twice() -> None:
    store = empty_store()
    store.update(
        [
            make_reading("token_objects", 1, labels=(("a-b", "x"),)),
            make_reading("token_objects", 2, labels=(("a.b", "x"),)),
        ]
    )

    assert [line.rpartition(" ")[2] for line in lines(store, "hsm_token_objects")] == ["2.0"]


def test_a_value_that_is_no_unicode_costs_one_character_and_not_the_page() -> None:
    store = empty_store()
    store.update([make_reading("token_objects", 1, resource="bad\udc80label\u202e")])

    assert lines(store, "hsm_token_objects") == [
        'hsm_token_objects{resource="bad\ufffdlabel\ufffd",source="luna-a"} 1.0'
    ]


def test_an_alarm_is_shown_with_its_rule_and_severity() -> None:
    store = known_store()

    (line,) = lines(store, "hsm_alarm_active")

    for part in ('rule="token-memory"', 'severity="warning"', 'resource="payments"', 'source="luna-a"'):
        assert part in line
    assert 'metric="token_memory_private_used_percent"' in line
    assert line.endswith(" 1.0")


def test_alarms_of_one_rule_on_series_that_differ_in_a_label_are_two() -> None:
    store = empty_store()
    alarm = make_alarm(severity=Severity.CRITICAL)
    place = ("luna-a", "payments", "token_login_attempts_left")
    for role in ("officer", "user"):
        series = (*place, (("role", role),))
        store.set_alarms(store.alarms | {("pin", series): replace(alarm, rule="pin", series=series)})

    assert len(lines(store, "hsm_alarm_active")) == 2


def test_no_alarm_no_family() -> None:
    assert b"hsm_alarm_active" not in exposition(snapshot_of(empty_store()), "")[0]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        pytest.param("", PLAIN, id="nothing asked"),
        pytest.param("*/*", PLAIN, id="curl"),
        pytest.param(PROMETHEUS_ASKS, OPENMETRICS, id="Prometheus"),
        pytest.param("application/openmetrics-text", OPENMETRICS, id="any OpenMetrics"),
        pytest.param("application/openmetrics-text; version=0.0.1", PLAIN, id="a draft of OpenMetrics"),
        pytest.param("application/openmetrics-text; version=x", PLAIN, id="a version that is no number"),
        pytest.param(";;;,,,=;version", PLAIN, id="garbage"),
    ],
)
def test_the_format_is_the_one_asked_for(accept: str, content_type: str) -> None:
    body, told = exposition(known_snapshot(), accept)

    assert told == content_type
    assert body.endswith(b"# EOF\n") == (content_type == OPENMETRICS)


def test_both_formats_say_the_same() -> None:
    plain = exposition(known_snapshot(), "")[0].decode()
    openmetrics = exposition(known_snapshot(), PROMETHEUS_ASKS)[0].decode()

    def samples(parsed: object) -> set[tuple[str, frozenset[tuple[str, str]], float]]:
        return {
            (sample.name, frozenset(sample.labels.items()), sample.value)
            for family in parsed  # type: ignore[attr-defined]  # the parsers are not typed
            for sample in family.samples
        }

    told = samples(parse_openmetrics(openmetrics))  # type: ignore[no-untyped-call]  # the library is half typed
    assert samples(parse_plain(plain)) == told


def test_every_family_has_a_sentence_and_the_right_type() -> None:
    for family in families(known_snapshot()):
        assert family.documentation.endswith(".")
        is_counter = any(sample.name.endswith("_total") for sample in family.samples)
        assert family.type == ("counter" if is_counter else "gauge")


def test_no_two_metrics_of_the_catalogue_make_one_family() -> None:
    names = [exposed_name(metric).removesuffix("_total") for metric in METRICS]

    assert len(names) == len(set(names))


def test_what_the_catalogue_calls_a_counter_is_named_so() -> None:
    assert all((metric.type == "counter") == name.endswith("_total") for name, metric in METRICS.items())


SELECTABLE = replace(
    known_snapshot(),
    readings=[
        make_reading("hsm_capability", 1, resource="pay", labels=(("capability_id", "1"),)),
        make_reading("hsm_capability", 0, resource="pay", labels=(("capability_id", "12"),)),
        make_reading("token_objects", 7, resource="pay"),
        make_reading("token_objects", 9, resource="archive"),
    ],
)


@pytest.mark.parametrize(
    ("metric", "resource", "labels", "values"),
    [
        pytest.param("token_objects", "*", {}, [7, 9], id="a metric"),
        pytest.param("hsm_token_objects", "pay", {}, [7], id="its Prometheus name"),
        pytest.param("hsm_capability", "*", {"capability_id": "12"}, [0], id="a label"),
        pytest.param("token_objects", "*", {"resource": "archive"}, [9], id="resource as a label"),
        pytest.param("token_objects", "*", {"capability_id": "1"}, [], id="a label it does not have"),
        pytest.param("hsm_hsm_capability", "*", {}, [], id="no name twice prefixed"),
    ],
)
def test_readings_are_selected_by_metric_name_globs_and_labels(
    metric: str, resource: str, labels: dict[str, str], values: list[float]
) -> None:
    found = select(SELECTABLE, metric, source="*", resource=resource, labels=labels)

    assert [each.value for each in found] == values


def test_names_that_come_near_are_of_metrics_that_have_readings() -> None:
    assert near(SELECTABLE, "token_object") == ["token_objects", "hsm_token_objects"]
    assert near(SELECTABLE, "sensor_celsius") == []
