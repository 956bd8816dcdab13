"""The ``[atlan_meta]`` settings: declared once, read by Airflow and services alike.

Order: explicit argument, ``AIRFLOW__ATLAN_META__KEY``, ``airflow.cfg``, default.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from airflow_provider_atlan_meta.core.errors import ConfigurationError

SECTION = "atlan_meta"


@dataclass(frozen=True)
class Setting:
    """One key of the section; ``kind`` is Airflow's own word for its type."""

    name: str
    kind: str
    default: str
    description: str
    example: str | None = None
    version_added: str = "0.1.0"

    @property
    def environment_variable(self) -> str:
        return f"AIRFLOW__{SECTION.upper()}__{self.name.upper()}"


SETTINGS: tuple[Setting, ...] = (
    Setting("topic_prefix", "string", "meta", "Prefix of the Kafka topics: <prefix>.events.v1 and so on."),
    Setting(
        "topic_partitions",
        "integer",
        "12",
        "Partitions of each topic. Fixed at creation: more breaks order per incident.",
    ),
    Setting(
        "topic_replication",
        "integer",
        "3",
        "Replication factor of each topic; below 3 a broker loss may lose data.",
    ),
    Setting(
        "connections_file",
        "string",
        "",
        "JSON file {conn_id: connection} for services outside Airflow, mode 0600.",
        example="/etc/atlan-meta/connections.json",
    ),
    Setting("producer_host", "string", "127.0.0.1", "Address the producer listens on.", example="10.0.0.5"),
    Setting("producer_port", "integer", "8088", "Port the producer listens on."),
    Setting(
        "producer_max_in_flight",
        "integer",
        "1000",
        "Events the producer holds at once; above it callers are told 429 with Retry-After.",
    ),
    Setting(
        "ingest_metrics_port",
        "integer",
        "8089",
        "Port of the ingest service's /healthz and /metrics; 0 is off.",
    ),
    Setting("ingest_metrics_host", "string", "127.0.0.1", "Address those are served on.", example="10.0.0.5"),
    Setting(
        "consumer_metrics_port",
        "integer",
        "8091",
        "Port of the consumer service's /healthz and /metrics; 0 is off.",
    ),
    Setting(
        "consumer_metrics_host", "string", "127.0.0.1", "Address those are served on.", example="10.0.0.5"
    ),
    Setting(
        "max_partitions", "integer", "0", "Partitions one ingest service may own; 0 means all that are free."
    ),
    Setting("batch_records", "integer", "1000", "Records per transaction, at most 1000."),
    Setting(
        "lease_seconds",
        "float",
        "30",
        "How long a stopped owner keeps its partitions. At most Airflow's task_instance_heartbeat_timeout.",
    ),
    Setting(
        "delivery_timeout_seconds",
        "float",
        "30",
        "How long the producer waits for Kafka before it answers 503.",
    ),
    Setting("drain_seconds", "float", "30", "How long a service finishes what it holds after SIGTERM."),
    Setting(
        "capture_connector", "string", "atlan-meta-changes", "Name of the change connector in Kafka Connect."
    ),
    Setting(
        "capture_slot",
        "string",
        "meta_outbox",
        "Replication slot of the change connector; names are unique per PostgreSQL server.",
    ),
    Setting("log_level", "string", "INFO", "Least level the services log: DEBUG, INFO, WARNING or ERROR."),
    Setting("dag_prefix", "string", "atlan_meta_", "Prefix of the shipped DAG ids."),
    Setting(
        "dag_schedule",
        "string",
        "* * * * *",
        "Cron of the sweep that finds what came while no watcher ran; empty: asset events only.",
    ),
    Setting(
        "poll_tenants",
        "string",
        "",
        "Comma-separated tenants that the shipped poll asks Monte Carlo for.",
        example="acme,globex",
    ),
    Setting("poll_schedule", "string", "*/5 * * * *", "Cron of the poll."),
    Setting("dag_owner", "string", "atlan-meta", "Owner shown for the shipped DAGs."),
    Setting("dag_tags", "string", "atlan-meta", "Comma-separated tags of the shipped DAGs."),
    Setting("dag_pool", "string", "default_pool", "Airflow pool the tasks of the shipped DAGs run in."),
    Setting(
        "dag_sinks",
        "string",
        "postgres",
        "Comma-separated stores the shipped ingest DAG writes: postgres, and those that follow it: cassandra, atlas.",
        example="postgres,cassandra,atlas",
    ),
    Setting("dag_queue", "string", "", "Airflow queue of these tasks; empty: Airflow's default queue."),
    Setting(
        "alert_channel",
        "string",
        "",
        "Slack channel id that hears of failed DAG runs; empty: no alerts.",
        example="C0123456789",
    ),
    Setting(
        "alert_slack_conn_id", "string", "atlan_meta_slack_default", "Slack connection the alerts go through."
    ),
)
_BY_NAME = {setting.name: setting for setting in SETTINGS}


def settings_of_airflow() -> dict[str, Any]:
    """The section as ``get_provider_info()["config"]`` wants it."""
    return {
        SECTION: {
            "description": "Settings of airflow-provider-atlan-meta.",
            "options": {
                setting.name: {
                    "description": setting.description,
                    "version_added": setting.version_added,
                    "type": setting.kind,
                    "example": setting.example,
                    "default": setting.default,
                }
                for setting in SETTINGS
            },
        }
    }


@dataclass(frozen=True)
class Resolved:
    """A value and where it came from (``config list`` shows both)."""

    setting: Setting
    value: str
    origin: str


class Settings:
    """Read access to the section. Nothing is read before the first ``get``.

    :param environ: the process environment; tests pass their own.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self._file: Mapping[str, str] | None = None

    def resolve(self, name: str) -> Resolved:
        setting = _BY_NAME.get(name)
        if setting is None:
            raise ConfigurationError(f"[{SECTION}] has no key {name!r}; it has {', '.join(sorted(_BY_NAME))}")
        if setting.environment_variable in self._environ:
            return Resolved(setting, self._environ[setting.environment_variable], "environment")
        from_file = self._from_file().get(name)
        if from_file is not None:
            return Resolved(setting, from_file, "airflow.cfg")
        return Resolved(setting, setting.default, "default")

    def text(self, name: str) -> str:
        return self.resolve(name).value

    def integer(self, name: str) -> int:
        try:
            return int(self.text(name))
        except ValueError:
            raise self._not_a("whole number", name) from None

    def number(self, name: str) -> float:
        try:
            number = float(self.text(name))
        except ValueError:
            raise self._not_a("number", name) from None
        if not isfinite(number):
            raise self._not_a("number", name)
        return number

    def _not_a(self, kind: str, name: str) -> ConfigurationError:
        resolved = self.resolve(name)
        return ConfigurationError(
            f"[{SECTION}] {name} = {resolved.value!r} (from {resolved.origin}) is not a {kind}; "
            f"set {resolved.setting.environment_variable} to one, e.g. {resolved.setting.default}"
        )

    def all(self) -> list[Resolved]:
        return [self.resolve(setting.name) for setting in SETTINGS]

    def topic(self, name: str) -> str:
        """``events`` -> ``meta.events.v1``."""
        return f"{self.text('topic_prefix')}.{name}.v1"

    def _from_file(self) -> Mapping[str, str]:
        if self._file is None:
            home = self._environ.get("AIRFLOW_HOME", "~/airflow")
            path = Path(self._environ.get("AIRFLOW_CONFIG", f"{home}/airflow.cfg")).expanduser()
            parser = configparser.RawConfigParser()
            parser.read(path)
            self._file = dict(parser.items(SECTION)) if parser.has_section(SECTION) else {}
        return self._file
