"""Cassandra: what the connection says, sessions, the keyspace and its tables, and foreign errors as ours.

Nothing is read before it is needed: a session opens with the first call and opens again after the store was away.
"""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    DriverException,
    OperationTimedOut,
    RequestExecutionException,
    RequestValidationException,
    Unauthorized,
    UnsupportedOperation,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.concurrent import execute_concurrent
from cassandra.connection import ConnectionException
from cassandra.policies import (
    ConstantReconnectionPolicy,
    DCAwareRoundRobinPolicy,
    LoadBalancingPolicy,
    RoundRobinPolicy,
    TokenAwarePolicy,
    WhiteListRoundRobinPolicy,
)
from cassandra.protocol import ErrorMessage, SyntaxException
from cassandra.query import Statement

from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import (
    AtlanMetaError,
    ConfigurationError,
    TerminalError,
    TransientError,
)

KEYSPACE = "meta"
_PORT = 9042
_CONNECT_SECONDS = 3.0
_REQUEST_SECONDS = 10.0
_RECONNECT_SECONDS = 1.0
# requests under way at once; the driver gets slower with more
_CONCURRENCY = 50
_MAX_TEXT = 300
_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
_SAFE_COPIES = 3

# The first class that fits decides.
_ERRORS: tuple[tuple[type[Exception], type[AtlanMetaError], str], ...] = (
    (AuthenticationFailed, ConfigurationError, "check login and password of the connection"),
    (
        Unauthorized,
        ConfigurationError,
        "the login needs MODIFY and SELECT on the keyspace, CREATE for its tables",
    ),
    (UnsupportedOperation, ConfigurationError, "the server is older than Cassandra 4"),
    (NoHostAvailable, TransientError, "no node answers"),
    (OperationTimedOut, TransientError, "no answer in time"),
    (ConnectionException, TransientError, "the connection broke"),
    # too few replicas, a timeout between them, overload
    (RequestExecutionException, TransientError, "the cluster cannot do it now"),
    (RequestValidationException, TerminalError, "is this keyspace ours?"),
    (SyntaxException, TerminalError, "is this Cassandra?"),
    (ErrorMessage, TransientError, "the cluster cannot do it now"),
    (DriverException, TransientError, "the driver gave up"),
    (OSError, TransientError, "the connection broke"),
)
FOREIGN = tuple(kind for kind, _, _ in _ERRORS)

TABLES = (
    # what happened to an entity, the newest first. A key is a blob: type uuid sorts by its version's digit first
    """create table if not exists {keyspace}.event_by_entity (
  tenant_id text, entity_id uuid, month int, event_key blob,
  event_id uuid, source text, type text, subject text, occurred_at timestamp, received_at timestamp, payload text,
  primary key ((tenant_id, entity_id, month), event_key)) with clustering order by (event_key desc)""",
    # incidents as they are now. A list is one frozen cell: written twice it is still one list
    """create table if not exists {keyspace}.incident_by_day (
  tenant_id text, first_seen_day date, incident_id text,
  source text, type text, title text, severity text, priority text, status text, owner text, url text,
  opened_at timestamp, updated_at timestamp, resolved_at timestamp, entity_ids frozen<list<uuid>>,
  revision bigint, content_hash bigint,
  primary key ((tenant_id, first_seen_day), incident_id))""",
    # every day an incident was ever written under, and which is the one that counts
    """create table if not exists {keyspace}.day_by_incident (
  tenant_id text, incident_id text, first_seen_day date, current_day date static, revision bigint static,
  primary key ((tenant_id, incident_id), first_seen_day))""",
)


@dataclass(frozen=True, kw_only=True)
class CassandraConfig:
    """What a connection of type ``cassandra`` says, in the Cassandra provider's layout.

    :param replication: of a keyspace that is not there yet; empty: as many copies as there are nodes, at most 3.
    """

    conn_id: str
    hosts: tuple[str, ...]
    port: int = _PORT
    login: str = ""
    password: str = field(default="", repr=False)
    keyspace: str = KEYSPACE
    policy: str = ""
    policy_args: Mapping[str, Any] = field(default_factory=dict)
    ssl_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    protocol_version: int = 5
    consistency: str = "LOCAL_QUORUM"
    replication: Mapping[str, Any] = field(default_factory=dict)
    timeout_seconds: float = _REQUEST_SECONDS

    @classmethod
    def from_connection(cls, info: ConnectionInfo) -> CassandraConfig:
        """host = nodes separated by commas, schema = keyspace; extra: ``load_balancing_policy`` with its ``_args``,
        ``ssl_options``, ``protocol_version`` as in the provider, and ``consistency``, ``replication``, ``timeout``.

        :raises ConfigurationError: there is no host, or a value cannot be used.
        """
        extra, keyspace = info.extra, info.schema or KEYSPACE
        hosts = tuple(host.strip() for host in info.host.split(",") if host.strip())
        if not hosts:
            raise ConfigurationError(
                f"connection {info.conn_id!r} needs a host: Cassandra's nodes, comma-separated"
            )
        if not _NAME.fullmatch(keyspace):
            raise ConfigurationError(
                f"connection {info.conn_id!r}: its schema is the keyspace, small letters, digits and _"
            )
        try:
            return cls(
                conn_id=info.conn_id,
                hosts=hosts,
                port=info.port or _PORT,
                login=info.login,
                password=info.password,
                keyspace=keyspace,
                policy=str(extra.get("load_balancing_policy") or ""),
                policy_args=dict(extra.get("load_balancing_policy_args") or {}),
                ssl_options=dict(extra.get("ssl_options") or {}),
                protocol_version=int(extra.get("protocol_version") or cls.protocol_version),
                consistency=_consistency(info),
                replication=dict(extra.get("replication") or {}),
                timeout_seconds=float(extra.get("timeout") or _REQUEST_SECONDS),
            )
        except (TypeError, ValueError):
            raise ConfigurationError(
                f"connection {info.conn_id!r}: protocol_version and timeout are numbers; ssl_options, replication "
                "and load_balancing_policy_args are objects"
            ) from None


def _consistency(info: ConnectionInfo) -> str:
    name = str(info.extra.get("consistency") or CassandraConfig.consistency).upper()
    if name not in ConsistencyLevel.name_to_value:
        raise ConfigurationError(f"connection {info.conn_id!r}: there is no consistency {name[:40]!r}")
    return name


class CassandraSession:
    """A session that opens when it is needed, makes what is missing, and speaks our errors. Not thread-safe."""

    def __init__(self, config: CassandraConfig) -> None:
        self.config = config
        self._cluster: Cluster | None = None
        self._session: Session | None = None
        self._prepared: dict[str, Any] = {}

    def __enter__(self) -> CassandraSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        cluster, self._cluster, self._session = self._cluster, None, None
        self._prepared.clear()
        if cluster is not None:
            cluster.shutdown()

    @property
    def session(self) -> Session:
        """The driver's own, connected; keyspace and tables are there.

        :raises TransientError: no node answers.
        :raises ConfigurationError: refused.
        """
        if self._session is None:
            with self.translated("connecting"):
                try:
                    self._cluster = _cluster(self.config)
                    self._session = self._cluster.connect()
                    self._make_tables()
                except BaseException:
                    self.close()
                    raise
        return self._session

    def describe(self) -> str:
        """One line for people: proves that the cluster answers and has our keyspace."""
        row = self.rows("select release_version, cluster_name from system.local")[0]
        nodes = len(self.session.cluster.metadata.all_hosts())
        return (
            f"Cassandra {row.release_version}, cluster {row.cluster_name}, "
            f"{nodes} node{'s' if nodes > 1 else ''}, keyspace {self.config.keyspace}"
        )

    def prepare(self, query: str) -> Any:
        """Prepared once per session. ``{keyspace}`` in it is ours. It may be sent twice without harm."""
        session = self.session
        if query not in self._prepared:
            with self.translated("preparing a statement"):
                statement = session.prepare(query.format(keyspace=self.config.keyspace))
                statement.is_idempotent = True
                self._prepared[query] = statement
        return self._prepared[query]

    def rows(self, query: str, *values: Any) -> list[Any]:
        """All rows of a query."""
        statement = self.prepare(query)
        with self.translated("reading"):
            return list(self.session.execute(statement, values))

    def run(self, statements: Sequence[Statement]) -> list[Any]:
        """Runs bound statements and batches side by side, a bounded number at once.

        :return: per statement, in order: its result, or the exception it ended with.
        """
        if not statements:
            return []
        with self.translated("writing"):
            return [
                found
                for _, found in execute_concurrent(
                    self.session,
                    [(statement, ()) for statement in statements],
                    concurrency=_CONCURRENCY,
                    raise_on_first_error=False,
                )
            ]

    @contextlib.contextmanager
    def translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except FOREIGN as error:
            raise self.error_of(error, what) from error

    def error_of(self, error: BaseException, what: str) -> AtlanMetaError:
        """The driver's error in our words; anything that is not the driver's is raised as it is."""
        return translated(error, f"Cassandra ({self.config.conn_id}), {what}")

    def _make_tables(self) -> None:
        """Only what is missing: a writer in production needs no right to create anything."""
        if self._cluster is None or self._session is None:
            return
        config, known = self.config, self._cluster.metadata.keyspaces
        if config.keyspace not in known:
            self._session.execute(_create_keyspace(config, len(self._cluster.metadata.all_hosts())))
        tables = known[config.keyspace].tables if config.keyspace in known else {}
        for text in TABLES:
            name = text.partition("{keyspace}.")[2].partition(" ")[0]
            if name not in tables:
                self._session.execute(text.format(keyspace=config.keyspace))


def translated(error: BaseException, what: str) -> AtlanMetaError:
    """:raises BaseException: the error itself, where the table does not know it."""
    for kind, ours, cure in _ERRORS:
        if isinstance(error, kind):
            # a refusal is hidden behind "no host": it is the only one that says what is wrong
            inner = [*error.errors.values()] if isinstance(error, NoHostAvailable) else []
            refused = [one for one in inner if isinstance(one, AuthenticationFailed)]
            if refused:
                return translated(refused[0], what)
            said = f"{type(error).__name__}: {error}"[:_MAX_TEXT]
            safe = ". Nothing is lost: it is written again" if ours is TransientError else ""
            return ours(f"{what}: {cure} ({said}){safe}")
    raise error


def _cluster(config: CassandraConfig) -> Cluster:
    profile = ExecutionProfile(
        load_balancing_policy=_policy(config.policy, config.policy_args),
        consistency_level=ConsistencyLevel.name_to_value[config.consistency],
        request_timeout=config.timeout_seconds,
    )
    return Cluster(
        list(config.hosts),
        port=config.port,
        auth_provider=PlainTextAuthProvider(config.login, config.password) if config.login else None,
        ssl_context=_ssl_context(config) if config.ssl_options else None,
        protocol_version=config.protocol_version,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        connect_timeout=_CONNECT_SECONDS,
        reconnection_policy=ConstantReconnectionPolicy(_RECONNECT_SECONDS, max_attempts=None),
    )


def _policy(name: str, args: Mapping[str, Any]) -> LoadBalancingPolicy:
    """The names of the Cassandra provider; anything else is its default."""
    if name == "DCAwareRoundRobinPolicy":
        return DCAwareRoundRobinPolicy(
            str(args.get("local_dc") or ""), int(args.get("used_hosts_per_remote_dc") or 0)
        )
    if name == "WhiteListRoundRobinPolicy":
        return WhiteListRoundRobinPolicy(list(args.get("hosts") or ()))
    if name == "TokenAwarePolicy":
        child = str(args.get("child_load_balancing_policy") or "")
        return TokenAwarePolicy(_policy(child, args.get("child_load_balancing_policy_args") or {}))
    return RoundRobinPolicy()


def _ssl_context(config: CassandraConfig) -> ssl.SSLContext:
    """The keys of ``ssl.wrap_socket`` that the provider's documentation names."""
    options = config.ssl_options
    try:
        context = ssl.create_default_context(cafile=options.get("ca_certs"))
        context.check_hostname = bool(options.get("check_hostname", False))
        if options.get("cert_reqs") in (0, "CERT_NONE"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if options.get("certfile"):
            context.load_cert_chain(options["certfile"], options.get("keyfile"), options.get("password"))
    except (OSError, TypeError) as error:
        raise ConfigurationError(
            f"connection {config.conn_id!r}: ssl_options cannot be used ({type(error).__name__}); "
            "ca_certs, certfile and keyfile are paths of PEM files on this machine"
        ) from error
    return context


def _create_keyspace(config: CassandraConfig, nodes: int) -> str:
    replication = dict(config.replication) or {
        "class": "NetworkTopologyStrategy",
        "replication_factor": min(nodes, _SAFE_COPIES),
    }
    pairs = ", ".join(f"{_literal(key)}: {_literal(value)}" for key, value in replication.items())
    return f"create keyspace if not exists {config.keyspace} with replication = {{{pairs}}}"


def _literal(value: Any) -> str:
    return "'" + str(value).replace("'", "''") + "'"
