"""What a connection of type ``atlan_meta_atlas`` says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_atlan_meta.clients.atlas_login import ClientCredentials, FixedLogin, Login, TokenLogin
from airflow_provider_atlan_meta.core.atlas import CatalogNaming
from airflow_provider_atlan_meta.core.atlas_dialects import ATLAS, DIALECTS, Dialect
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import ConfigurationError

CONNECT_SECONDS, READ_SECONDS = 3.0, 10.0


@dataclass(frozen=True, kw_only=True)
class AtlasConfig:
    """:param hosts: addresses of the servers, the first one asked first; they alone ever see the login.

    :param ca_file: certificates the servers' own are checked with; empty: those of the system.
    """

    conn_id: str
    hosts: tuple[str, ...]
    dialect: Dialect = ATLAS
    naming: CatalogNaming = field(default_factory=CatalogNaming)
    login: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    oauth: ClientCredentials | None = None
    ca_file: str = ""
    connect_seconds: float = CONNECT_SECONDS
    read_seconds: float = READ_SECONDS

    @classmethod
    def from_connection(cls, info: ConnectionInfo) -> AtlasConfig:
        """host, port, schema = address of the server, a path before the API's kept; login and password for basic
        authentication; extra: ``dialect`` (atlas, atlan), ``hosts`` (every server of a cluster), ``token``,
        ``client_id``, ``client_secret``, ``token_url``, ``scope``, ``ca_file``, ``timeout``, ``name_suffix``,
        ``incident_connection``.

        :raises ConfigurationError: no usable address, dialect, login or time; names the connection.
        """
        try:
            return cls._from(info)
        except ConfigurationError as error:
            raise ConfigurationError(f"connection {info.conn_id!r}: {error}") from None

    @classmethod
    def _from(cls, info: ConnectionInfo) -> AtlasConfig:
        extra = info.extra
        name = str(extra.get("dialect") or ATLAS.name)
        if name not in DIALECTS:
            raise ConfigurationError(f"dialect {name!r} is not known; one of {', '.join(sorted(DIALECTS))}")
        dialect, hosts = DIALECTS[name], _hosts(info)
        suffix = extra.get("name_suffix")
        return cls(
            conn_id=info.conn_id,
            hosts=hosts,
            dialect=dialect,
            naming=CatalogNaming(
                dialect=dialect,
                suffix=dialect.suffix if suffix is None else str(suffix),
                incident_connection=str(extra.get("incident_connection") or "").rstrip("/"),
            ),
            login=info.login,
            password=info.password,
            token=str(extra.get("token") or ""),
            oauth=_credentials(extra, dialect, hosts[0]),
            ca_file=str(extra.get("ca_file") or ""),
            read_seconds=_seconds(extra.get("timeout")),
        )

    def authentication(self) -> Login:
        """OAuth2 before a token before a password."""
        if self.oauth is not None:
            return TokenLogin(self.oauth)
        if self.token:
            return FixedLogin.bearer(self.token)
        return FixedLogin.basic(self.login, self.password) if self.login else FixedLogin()


def _hosts(info: ConnectionInfo) -> tuple[str, ...]:
    named = info.extra.get("hosts") or ()
    texts = named.split(",") if isinstance(named, str) else list(named)
    first = f"{_address(info.host, info.schema)}{f':{info.port}' if info.port else ''}" if info.host else ""
    addresses = [first, *(_address(str(text).strip(), info.schema) for text in texts)]
    hosts = tuple(dict.fromkeys(address for address in addresses if address))
    if not hosts:
        raise ConfigurationError("it needs a host: the catalog's address, e.g. http://atlas:21000")
    for host in hosts:
        _check(host)
    return hosts


def _address(text: str, scheme: str) -> str:
    return (
        "" if not text else text.rstrip("/") if "://" in text else f"{scheme or 'http'}://{text}".rstrip("/")
    )


def _check(address: str) -> None:
    try:
        parts = urlsplit(address)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
        parts = urlsplit("")
    if not is_usable:
        raise ConfigurationError("a host is no address such as http://atlas:21000")
    if parts.username or parts.query or parts.fragment:
        raise ConfigurationError(
            "a host has a login, query or fragment; write scheme, host, port and path only"
        )


def _credentials(extra: Mapping[str, Any], dialect: Dialect, host: str) -> ClientCredentials | None:
    client, secret = str(extra.get("client_id") or ""), str(extra.get("client_secret") or "")
    if not client:
        return None
    url = str(extra.get("token_url") or "")
    if not secret or not (url or dialect.oauth_path):
        raise ConfigurationError("client_id needs client_secret and, unless the dialect is atlan, token_url")
    return ClientCredentials(
        url=url or f"{host}{dialect.oauth_path}",
        client_id=client,
        client_secret=secret,
        scope=str(extra.get("scope") or ""),
        camel_case=not url,
    )


def _seconds(value: Any) -> float:
    try:
        seconds = float(value or READ_SECONDS)
    except (TypeError, ValueError):
        raise ConfigurationError("its timeout is not a number of seconds") from None
    if not 0 < seconds <= 60:
        raise ConfigurationError("its timeout must be above 0 and at most 60 seconds")
    return seconds
