"""What a connection says, without Airflow: the value every client is built from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from airflow_provider_atlan_meta.core.errors import ConfigurationError

_SECRET_WORDS = ("password", "secret", "token", "key", "credential", "passphrase", "jaas")
_WITH_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+._-]*://")
_NOT_SECRET = ("secret_name", "key.deserializer", "ssl.key.location", "key_file", "keytab")


@dataclass(frozen=True, kw_only=True, repr=False)
class ConnectionInfo:
    """An Airflow Connection's fields as a plain value; its repr never shows a secret.

    Equal to what ``airflow.sdk.Connection`` reads from the same URI or JSON (a test compares them).
    """

    conn_id: str
    conn_type: str = ""
    host: str = ""
    port: int | None = None
    login: str = ""
    password: str = ""
    schema: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def secrets(self) -> tuple[str, ...]:
        """Every value that must never reach a log."""
        return tuple(dict.fromkeys(_secrets(self.password, self.extra)))

    def __repr__(self) -> str:
        extra = sorted(self.extra)
        return (
            f"ConnectionInfo({self.conn_id!r}, type={self.conn_type!r}, host={self.host!r}, port={self.port}, "
            f"login={self.login!r}, password={'***' if self.password else ''!r}, schema={self.schema!r}, "
            f"extra keys={extra})"
        )


def _secrets(password: str, extra: Mapping[str, Any]) -> Iterator[str]:
    if password:
        yield password
    for name, value in extra.items():
        if isinstance(value, Mapping):
            yield from _secrets("", value)
        elif is_secret_name(name):
            # a list while secrets are rotated
            values = value if isinstance(value, list) else [value]
            yield from (text for text in values if text and isinstance(text, str))


def is_secret_name(name: str) -> bool:
    """Whether what stands under this name is taken for a secret."""
    lowered = name.lower()
    return any(word in lowered for word in _SECRET_WORDS) and lowered not in _NOT_SECRET


def parse_connection(conn_id: str, text: str) -> ConnectionInfo:
    """The two forms Airflow accepts in ``AIRFLOW_CONN_*``: JSON and URI.

    :raises ConfigurationError: neither form; the text itself is not repeated, it may hold a secret.
    """
    text = text.strip()
    try:
        return _from_json(conn_id, json.loads(text)) if text.startswith("{") else _from_uri(conn_id, text)
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"connection {conn_id!r} is neither a JSON object nor a URI ({type(error).__name__}); "
            f"write it as Airflow does, e.g. AIRFLOW_CONN_{conn_id.upper()}='{{\"conn_type\": ...}}'"
        ) from None


def _from_json(conn_id: str, fields: dict[str, Any]) -> ConnectionInfo:
    extra = fields.get("extra") or {}
    if isinstance(extra, str):
        extra = json.loads(extra)
    port = fields.get("port")
    return ConnectionInfo(
        conn_id=conn_id,
        conn_type=_conn_type(fields.get("conn_type") or ""),
        host=fields.get("host") or "",
        port=int(port) if port not in (None, "") else None,
        login=fields.get("login") or "",
        password=fields.get("password") or "",
        schema=fields.get("schema") or "",
        extra=dict(extra),
    )


def _from_uri(conn_id: str, uri: str) -> ConnectionInfo:
    if not _WITH_SCHEME.match(uri):
        raise ValueError("no scheme")
    scheme, _, rest = uri.partition("://")
    # Airflow's own form http://https://host: the second scheme belongs to the host
    parts = urlsplit(rest if _WITH_SCHEME.match(rest) else f"//{rest}")
    host = unquote(parts.hostname or "")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    extra = json.loads(query["__extra__"]) if "__extra__" in query else query
    return ConnectionInfo(
        conn_id=conn_id,
        conn_type=_conn_type(scheme),
        host=f"{parts.scheme}://{host}" if parts.scheme and host else host,
        port=parts.port,
        login=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        schema=unquote(parts.path[1:]) if parts.path else "",
        extra=extra,
    )


def _conn_type(text: str) -> str:
    """Airflow's spelling."""
    return "postgres" if text == "postgresql" else text.replace("-", "_")
