"""Kafka Connect's REST API: connectors, their state and their offsets.

Nothing it returns holds a secret, and no configuration with one is sent (``core.connect_config``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from airflow_provider_atlan_meta.core.capture_health import ConnectorState, TaskState
from airflow_provider_atlan_meta.core.connect_config import (
    SourceOffset,
    check_offsets,
    masked,
    masked_text,
    refuse_inline_secrets,
)
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import (
    AtlanMetaError,
    ConfigurationError,
    TerminalError,
    TransientError,
)

_TIMEOUT_SECONDS = 10.0
_CONNECT_SECONDS = 3.0
_MAX_TEXT = 600
# Connect's answers by status; a redirect or anything else unexpected is terminal, above 499 transient.
_ERRORS: dict[int, tuple[type[AtlanMetaError], str]] = {
    400: (ConfigurationError, "Connect refuses what was asked"),
    401: (ConfigurationError, "check login and password of the connection"),
    403: (ConfigurationError, "the login may not do this"),
    404: (ConfigurationError, "there is no such connector, plugin or path"),
    # a rebalance: over in a moment
    409: (TransientError, "the workers are rebalancing; try again"),
    422: (ConfigurationError, "Connect refuses what was asked"),
    429: (TransientError, "asked too often; try again"),
}


@dataclass(frozen=True, kw_only=True)
class ConnectConfig:
    """What the connection says.

    :param url: without a slash at its end.
    :param ca_file: certificates the workers' own is checked with; empty: those of the system.
    """

    conn_id: str
    url: str
    login: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    timeout_seconds: float = _TIMEOUT_SECONDS

    @classmethod
    def from_connection(cls, info: ConnectionInfo) -> ConnectConfig:
        """host = the workers' URL or name, port; login and password for basic authentication; extra: ``ca_file``,
        ``timeout``.

        :raises ConfigurationError: there is no host, or the timeout is no number.
        """
        if not info.host:
            raise ConfigurationError(
                f"connection {info.conn_id!r} needs a host: Kafka Connect's REST address, e.g. http://connect:8083"
            )
        host = info.host.rstrip("/")
        base = host if "://" in host else f"{info.schema or 'http'}://{host}"
        try:
            timeout = float(info.extra.get("timeout") or _TIMEOUT_SECONDS)
        except (TypeError, ValueError):
            raise ConfigurationError(
                f"connection {info.conn_id!r}: its timeout is not a number of seconds"
            ) from None
        return cls(
            conn_id=info.conn_id,
            url=f"{base}:{info.port}" if info.port else base,
            login=info.login,
            password=info.password,
            ca_file=str(info.extra.get("ca_file") or ""),
            timeout_seconds=timeout,
        )


class ConnectClient:
    """One worker or a load balancer before several. No call is repeated here.

    :param transport: stands in for the network in tests.
    :raises TransientError: no answer, a rebalance, a fault of the worker.
    :raises ConfigurationError: refused: wrong login, unknown connector, invalid configuration.
    """

    def __init__(self, config: ConnectConfig, transport: httpx.BaseTransport | None = None) -> None:
        self._config = config
        try:
            self._http = httpx.Client(
                base_url=config.url,
                auth=(config.login, config.password) if config.login else None,
                timeout=httpx.Timeout(config.timeout_seconds, connect=_CONNECT_SECONDS),
                verify=_context(config.ca_file),
                transport=transport,
                headers={"Accept": "application/json"},
            )
        except (OSError, httpx.InvalidURL) as error:
            raise ConfigurationError(
                f"connection {config.conn_id}: {type(error).__name__}: {error}"
            ) from error

    def __enter__(self) -> ConnectClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def describe(self) -> str:
        """One line for people: proves that the worker answers and has what the change connector needs."""
        root = self._call("GET", "/")
        plugins = sorted(str(plugin["class"]) for plugin in self._call("GET", "/connector-plugins"))
        sources = ", ".join(name.rpartition(".")[2] for name in plugins) or "none"
        return f"Kafka Connect {root['version']} on cluster {root['kafka_cluster_id']}, connectors: {sources}"

    def validate(self, name: str, config: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        """What is wrong with a configuration, by key; empty: nothing. Asks the database too.

        :raises ConfigurationError: it holds a secret itself, or its class is unknown.
        """
        refuse_inline_secrets(config)
        kind = quote(config.get("connector.class", ""), safe="")
        answer = self._call(
            "PUT", f"/connector-plugins/{kind}/config/validate", body={"name": name, **config}
        )
        values = [entry["value"] for entry in answer["configs"]]
        return {
            value["name"]: tuple(masked_text(text) for text in value["errors"])
            for value in values
            if value["errors"]
        }

    def apply(self, name: str, config: Mapping[str, str]) -> dict[str, str]:
        """Creates the connector or replaces its configuration; the same again changes nothing.

        :return: the configuration as Connect has it now, masked.
        """
        refuse_inline_secrets(config)
        return masked(self._call("PUT", f"{_path(name)}/config", body=dict(config))["config"])

    def config(self, name: str) -> dict[str, str] | None:
        """The configuration, masked; None: there is no such connector."""
        found = self._find(f"{_path(name)}/config")
        return None if found is None else masked(found)

    def status(self, name: str) -> ConnectorState | None:
        """None: there is no such connector. What it says is not what is: see ``core.capture_health``."""
        found = self._find(f"{_path(name)}/status")
        if found is None:
            return None
        return ConnectorState(
            state=str(found["connector"]["state"]),
            trace=_first_line(found["connector"].get("trace")),
            tasks=tuple(
                TaskState(id=int(task["id"]), state=str(task["state"]), trace=_first_line(task.get("trace")))
                for task in found["tasks"]
            ),
        )

    def offsets(self, name: str) -> tuple[SourceOffset, ...]:
        """Where the connector stands, as it was stored last; none for a connector that is unknown or new."""
        found = self._find(f"{_path(name)}/offsets") or {"offsets": []}
        return tuple(SourceOffset(entry["partition"], entry["offset"]) for entry in found["offsets"])

    def alter_offsets(self, name: str, offsets: Sequence[SourceOffset]) -> None:
        """Moves a STOPPED connector.

        :raises ConfigurationError: the offsets do not look like those it has, or it is not STOPPED.
        """
        check_offsets(offsets, self.offsets(name))
        entries = [
            {"partition": dict(entry.partition), "offset": dict(entry.offset or {})} for entry in offsets
        ]
        self._call("PATCH", f"{_path(name)}/offsets", body={"offsets": entries})

    def delete_offsets(self, name: str) -> None:
        """Makes a STOPPED connector forget where it was. They outlive the connector otherwise."""
        self._call("DELETE", f"{_path(name)}/offsets")

    def pause(self, name: str) -> None:
        """Tasks stay and do nothing."""
        self._call("PUT", f"{_path(name)}/pause")

    def resume(self, name: str) -> None:
        """Ends PAUSED and STOPPED."""
        self._call("PUT", f"{_path(name)}/resume")

    def stop(self, name: str) -> None:
        """Tasks end; only then its offsets may be changed."""
        self._call("PUT", f"{_path(name)}/stop")

    def restart(self, name: str, *, only_failed: bool = True) -> None:
        """The connector and its tasks; asynchronous, like all of these."""
        query = f"includeTasks=true&onlyFailed={str(only_failed).lower()}"
        self._call("POST", f"{_path(name)}/restart?{query}")

    def delete(self, name: str) -> bool:
        """Removes the connector and leaves its offsets, its slot and its publication.

        :return: whether it was there.
        """
        return self._find(_path(name), "DELETE") is not None

    def _find(self, path: str, method: str = "GET") -> Any:
        """The answer; None where Connect knows nothing of that name."""
        return self._call(method, path, absent_is_none=True)

    def _call(self, method: str, path: str, *, body: Any = None, absent_is_none: bool = False) -> Any:
        what = f"Kafka Connect {method} {path.partition('?')[0]}"
        try:
            answer = self._http.request(method, path, json=body)
            if answer.status_code == 404 and absent_is_none:
                return None
            if not answer.is_success:
                raise _translated(what, answer)
            return answer.json() if answer.content else {}
        except httpx.HTTPError as error:
            text = masked_text(str(error))[:_MAX_TEXT]
            raise TransientError(f"{what}: no answer ({type(error).__name__}: {text})") from error
        except ValueError as error:
            raise TerminalError(
                f"{what}: the answer is not JSON; is {self._config.url} Kafka Connect?"
            ) from error


def _path(name: str) -> str:
    return f"/connectors/{quote(name, safe='')}"


def _context(ca_file: str) -> Any:
    if not ca_file:
        return True
    import ssl

    return ssl.create_default_context(cafile=ca_file)


def _translated(what: str, answer: httpx.Response) -> AtlanMetaError:
    try:
        document = answer.json()
        said = document.get("message") if isinstance(document, dict) else None
    except ValueError:
        said = None
    text = f"{what}: {answer.status_code}: {masked_text(str(said or 'no reason given'))[:_MAX_TEXT]}"
    kind, cure = _ERRORS.get(answer.status_code, (TerminalError, "is this Kafka Connect?"))
    if answer.status_code >= 500:
        kind, cure = TransientError, "see the worker's log"
    if issubclass(kind, TransientError):
        return kind(f"{text}; {cure}", retry_after=_retry_after(answer))
    return kind(f"{text}; {cure}")


def _retry_after(answer: httpx.Response) -> float | None:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 1.0 if answer.status_code == 409 else None


def _first_line(trace: Any) -> str:
    return masked_text(str(trace or "").partition("\n")[0])[:_MAX_TEXT]
