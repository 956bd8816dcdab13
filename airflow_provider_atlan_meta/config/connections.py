"""Connection ids to ConnectionInfo, outside Airflow. Inside, hooks ask Airflow itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from airflow_provider_atlan_meta.config.settings import Settings
from airflow_provider_atlan_meta.core.connection import ConnectionInfo, parse_connection
from airflow_provider_atlan_meta.core.errors import ConfigurationError

KAFKA = "atlan_meta_kafka_default"
POSTGRES = "atlan_meta_postgres_default"
POSTGRES_ADMIN = "atlan_meta_postgres_admin"
POSTGRES_READER = "atlan_meta_postgres_reader"
POSTGRES_CDC = "atlan_meta_postgres_cdc"
POSTGRES_CONSUMER = "atlan_meta_postgres_consumer"
CONNECT = "atlan_meta_connect_default"
CASSANDRA = "atlan_meta_cassandra_default"
ATLAS = "atlan_meta_atlas_default"
SLACK = "atlan_meta_slack_default"
WEBHOOK = "atlan_meta_webhook_default"
OAUTH2 = "atlan_meta_oauth2_default"
MONTECARLO = "atlan_meta_montecarlo_default"

ConnectionLookup = Callable[[str], ConnectionInfo]


class Connections:
    """``AIRFLOW_CONN_<ID>``, then ``[atlan_meta] connections_file``. Read at every call, cached nowhere."""

    def __init__(self, settings: Settings | None = None, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self._settings = settings or Settings(self._environ)

    def find(self, conn_id: str) -> ConnectionInfo | None:
        """The connection, or None where nobody knows the id."""
        text = self._environ.get(f"AIRFLOW_CONN_{conn_id.upper()}")
        if text:
            return parse_connection(conn_id, text)
        entry = self._from_file().get(conn_id)
        if entry is None:
            return None
        return parse_connection(conn_id, entry if isinstance(entry, str) else json.dumps(entry))

    def get(self, conn_id: str) -> ConnectionInfo:
        """:raises ConfigurationError: nobody knows the id; the text says where it was looked for."""
        info = self.find(conn_id)
        if info is None:
            file = self._settings.text("connections_file") or "[atlan_meta] connections_file (not set)"
            raise ConfigurationError(
                f"connection {conn_id!r} is not defined; looked in AIRFLOW_CONN_{conn_id.upper()} and {file}"
            )
        return info

    def _from_file(self) -> Mapping[str, object]:
        name = self._settings.text("connections_file")
        if not name:
            return {}
        path = Path(name).expanduser()
        try:
            entries = json.loads(path.read_text())
        except FileNotFoundError:
            raise ConfigurationError(f"[atlan_meta] connections_file {path} does not exist") from None
        except OSError as error:
            raise ConfigurationError(
                f"[atlan_meta] connections_file {path} cannot be read: {error.strerror}"
            ) from None
        except ValueError:
            raise ConfigurationError(f"[atlan_meta] connections_file {path} is not a JSON object") from None
        if not isinstance(entries, dict):
            raise ConfigurationError(f"[atlan_meta] connections_file {path} is not a JSON object")
        return entries
