"""PostgreSQL: the session that ledgers and stores use, and the store of events, incidents and entities."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import psycopg
from psycopg import errors

from airflow_provider_atlan_meta.clients.postgres_rows import (
    EVENT_COLUMNS,
    RowPacker,
    pack_columns,
    register_loaders,
    register_packers,
)
from airflow_provider_atlan_meta.core.connection import ConnectionInfo
from airflow_provider_atlan_meta.core.errors import (
    AtlanMetaError,
    ConfigurationError,
    LeaseLostError,
    MappingMovedError,
    RejectedError,
    RowsMovedError,
    TerminalError,
    TransientError,
)
from airflow_provider_atlan_meta.core.merging import BatchPlan, IncidentKey, IncidentState
from airflow_provider_atlan_meta.core.ports import Commit, StoredDeadLetter
from airflow_provider_atlan_meta.core.rows import DeadLetter

CONNECT_SECONDS = 3
SCHEMA_REVISION = 5

# Most specific first. Nothing above this file sees a psycopg error.
_ERRORS: tuple[tuple[type[psycopg.Error], type[AtlanMetaError]], ...] = (
    (errors.SerializationFailure, RowsMovedError),
    (errors.DeadlockDetected, RowsMovedError),
    (errors.InsufficientPrivilege, TerminalError),
    (errors.UndefinedTable, ConfigurationError),
    (errors.UndefinedFunction, ConfigurationError),
    (errors.UndefinedObject, ConfigurationError),
    (errors.InvalidSchemaName, ConfigurationError),
    (errors.InvalidPassword, ConfigurationError),
    (errors.InvalidAuthorizationSpecification, ConfigurationError),
    (errors.InvalidCatalogName, ConfigurationError),
    (errors.ProgramLimitExceeded, RejectedError),
    (errors.StatementTooComplex, RejectedError),
    (errors.IntegrityError, RejectedError),
    (errors.DataError, RejectedError),
    (errors.OperationalError, TransientError),
    (psycopg.InterfaceError, TransientError),
)


@dataclass(frozen=True, kw_only=True)
class PostgresConfig:
    """:param parameters: libpq keywords (sslmode, options ...) from the connection's extra."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_connection(cls, info: ConnectionInfo) -> PostgresConfig:
        if not info.host or not info.schema:
            raise ConfigurationError(
                f"connection {info.conn_id!r} needs a host and a schema (the database's name)"
            )
        return cls(
            host=info.host,
            port=info.port or 5432,
            user=info.login,
            password=info.password,
            database=info.schema,
            parameters={key: str(value) for key, value in info.extra.items()},
        )


def connect(config: PostgresConfig, application_name: str) -> psycopg.Connection[tuple[Any, ...]]:
    """An autocommitting connection.

    :param application_name: shown in pg_stat_activity; at most 63 bytes.
    """
    try:
        return psycopg.connect(
            host=config.host,
            port=config.port,
            user=config.user,
            password=config.password or None,
            dbname=config.database,
            connect_timeout=CONNECT_SECONDS,
            application_name=application_name,
            autocommit=True,
            prepare_threshold=0,
            **dict(config.parameters),  # type: ignore[arg-type]
        )
    except psycopg.Error as error:
        raise translate(error, f"PostgreSQL at {config.host}:{config.port}") from error


def _check_revision(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    """This version of the code runs on the schema it was written for and on the next one (expand, then contract)."""
    row = connection.execute("select version_num from meta.schema_revision").fetchone()
    found = row[0] if row else "none"
    if not found.isdigit() or not SCHEMA_REVISION <= int(found) <= SCHEMA_REVISION + 1:
        raise ConfigurationError(
            f"schema meta is at revision {found}, this version needs {SCHEMA_REVISION:04}; run `atlan-meta db migrate`"
        )


def translate(error: psycopg.Error, what: str) -> AtlanMetaError:
    """The error in our own words; ``__cause__`` keeps the driver's."""
    text = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
    if isinstance(error, errors.RaiseException) and error.diag.message_detail == "fenced":
        return LeaseLostError(f"{text}; nothing of this batch was written")
    if isinstance(error, errors.RaiseException) and error.diag.message_detail == "mapping":
        return MappingMovedError(f"{text}; nothing of this batch was written")
    for foreign, ours in _ERRORS:
        if isinstance(error, foreign):
            if ours is RejectedError:
                return RejectedError("PostgreSQL refuses the value", detail=f"{type(error).__name__}: {text}")
            if ours is ConfigurationError:
                return ConfigurationError(
                    f"{what}: {text}; check the connection and run `atlan-meta db migrate`"
                )
            kept = (
                "; nothing was lost, the ledger stands at the last commit" if ours is TransientError else ""
            )
            return ours(f"{what}: {type(error).__name__}: {text}{kept}")
    return TerminalError(f"{what}: {type(error).__name__}: {text}")


_READ = "select * from meta.read_incidents(%s, %s, %s)"
_UNPUBLISHED = """
select cluster_id, topic, partition, "offset", sink, key, headers::text, value, stage, reason, fingerprint,
       to_json(at at time zone 'utc') #>> '{}'
  from meta.dead_letter where published_at is null order by at, topic, partition, "offset" limit %s"""
_MARK_PUBLISHED = """
update meta.dead_letter l set published_at = clock_timestamp()
  from unnest(%s::text[], %s::text[], %s::int[], %s::bigint[], %s::text[])
         o (cluster_id, topic, partition, "offset", sink)
 where l.cluster_id = o.cluster_id and l.topic = o.topic and l.partition = o.partition and l."offset" = o."offset"
   and l.sink = o.sink returning true"""
_KNOWN = "select event_key, duplicate_of is not null from meta.known_events(%s, %s::uuid[])"
_APPLY = (
    f"select meta.hold_mapping(%s), {{held}}meta.apply_batch({{lease}}, %s, {', '.join(['%s'] * len(EVENT_COLUMNS))},"
    " %s, %s::int[], %s, %s, %s::int[], %s, %s)"
)
_APPLY_LIVE = _APPLY.format(held="", lease="row(%s, %s, %s, %s, %s, %s, %s, %s)::meta.lease")
_APPLY_REPLAY = _APPLY.format(held="", lease="null")
_APPLY_HELD = _APPLY.format(held="set_config('meta.held', 'on', true), ", lease="null")


class PostgresSession:
    """One thread's connection, made at first use and again after it broke."""

    def __init__(self, config: PostgresConfig, *, application_name: str = "atlan-meta") -> None:
        self._config = config
        self._application_name = application_name
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._packers: dict[str, RowPacker] = {}

    @property
    def connection(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._connection is None or self._connection.closed:
            connection = connect(self._config, self._application_name)
            try:
                _check_revision(connection)
                register_loaders(connection)
                self._packers = register_packers(connection)
            except psycopg.Error as error:
                connection.close()
                raise translate(error, f"schema meta in {self._config.database!r}") from error
            except AtlanMetaError:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    @property
    def packers(self) -> Mapping[str, RowPacker]:
        """Those of the connection as it is now."""
        _ = self.connection
        return self._packers

    def fetch(self, query: str, arguments: Any) -> list[tuple[Any, ...]]:
        """One statement, in a transaction of its own; results come binary."""
        try:
            with self.connection.cursor(binary=True) as cursor:
                return cursor.execute(query, arguments).fetchall()
        except psycopg.Error as error:
            raise translate(error, "PostgreSQL") from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class PostgresStore(PostgresSession):
    """Implements ``core.ports.EventStore`` as role meta_ingest.

    A batch is one autocommitted statement: it is written whole or not at all, and no lock is ever held while the
    server waits for this process.
    """

    mapping_revision: int | None = None

    def read_incidents(self, keys: Sequence[IncidentKey]) -> dict[IncidentKey, IncidentState]:
        """The incidents that exist (or existed), read without a lock."""
        if not keys:
            return {}
        arguments = (_tenants(key[0] for key in keys), [key[0] for key in keys], [key[1] for key in keys])
        return {
            (row[0], row[1]): IncidentState(
                (*row[2:13], tuple(row[13])), tuple(row[14]), row[15], row[16], row[17], row[18]
            )
            for row in self.fetch(_READ, arguments)
        }

    def known_events(self, keys: Sequence[bytes], tenants: Sequence[str]) -> dict[bytes, bool]:
        """Which of these event_keys are stored -> whether as a duplicate."""
        if not keys:
            return {}
        rows = self.fetch(_KNOWN, (_tenants(tenants), [key.hex() for key in keys]))
        return {row[0]: row[1] for row in rows}

    def apply(
        self,
        plan: BatchPlan,
        *,
        commit: Commit | None,
        dead_letters: Sequence[DeadLetter] = (),
        held: bool = False,
    ) -> None:
        """Writes the batch and moves the cursor, or neither.

        :param commit: the partition's lease and range; None: a replay, which has no cursor.
        :param held: of a replay: its changes are told to nobody.
        :raises LeaseLostError: the ledger says otherwise than ``commit``.
        :raises RowsMovedError: an incident was written since it was read; read and plan again.
        :raises MappingMovedError: the mappings are not those any more that the plan was derived under.
        :raises RejectedError: a value of the batch; the caller finds which one by halving.
        """
        connection = self.connection
        arguments = _arguments(self.packers, plan, dead_letters)
        mapping = self.mapping_revision
        try:
            if commit is None:
                connection.execute(_APPLY_HELD if held else _APPLY_REPLAY, (mapping, *arguments))
            else:
                connection.execute(_APPLY_LIVE, (mapping, *commit, *arguments))
        except psycopg.Error as error:
            raise translate(error, "PostgreSQL") from error

    def ensure_event_days(self) -> None:
        """Partitions of the event table for today and the next 7 days."""
        self.fetch(
            "select meta.ensure_event_day(day::date) from generate_series("
            "(now() at time zone 'utc')::date, (now() at time zone 'utc')::date + 7, '1 day') day",
            (),
        )

    def unpublished(self, limit: int) -> list[StoredDeadLetter]:
        """Dead letters that are not on their topic yet, oldest first; of every tenant and of none."""
        return [stored_dead_letter(row) for row in self.fetch(_UNPUBLISHED, (limit,))]

    def mark_published(self, letters: Sequence[StoredDeadLetter]) -> None:
        origins = [list(column) for column in zip(*[letter[:5] for letter in letters], strict=True)]
        self.fetch(_MARK_PUBLISHED, origins)


_event_columns = attrgetter(
    *(
        "event_key",
        "tenant_id",
        "event_id",
        "source",
        "type",
        "subject",
        "occurred_at",
        "received_at",
        "payload",
    )
)
_entity_columns = attrgetter(
    *("tenant_id", "entity_id", "qualified_name", "type_name", "name", "platform"),
    *("database_name", "schema_name", "content_hash"),
)


def _arguments(
    packers: Mapping[str, RowPacker], plan: BatchPlan, dead_letters: Sequence[DeadLetter]
) -> tuple[Any, ...]:
    """``apply_batch``'s parameters behind the lease."""
    tenants = {event.tenant_id for event, _ in plan.events}
    tenants.update(row.tenant_id for wave in (*plan.waves, plan.quiet) for row in wave)
    tenants.update(entity.tenant_id for wave in plan.entity_waves for entity, _ in wave)
    tenants.update(link.tenant_id for link in plan.links)
    tenants.update(letter.tenant_id for letter in dead_letters if letter.tenant_id)
    pack_incidents = packers["staged_incident"].pack
    return (
        _tenants(tenants),
        *pack_columns(
            EVENT_COLUMNS, [(*_event_columns(event), duplicate) for event, duplicate in plan.events]
        ),
        pack_incidents((row[0], row[1], *row[2], *row[3:]) for wave in plan.waves for row in wave),
        [len(wave) for wave in plan.waves],
        pack_incidents((row[0], row[1], *row[2], *row[3:]) for row in plan.quiet),
        packers["staged_entity"].pack(
            (*_entity_columns(entity), position) for wave in plan.entity_waves for entity, position in wave
        ),
        [len(wave) for wave in plan.entity_waves],
        packers["staged_link"].pack(plan.links),
        packers["staged_dead_letter"].pack(dead_letter_row(letter) for letter in dead_letters),
    )


def _tenants(tenants: Iterable[str]) -> str:
    return ",".join(sorted(set(tenants)))


def stored_dead_letter(row: tuple[Any, ...]) -> StoredDeadLetter:
    """Of the columns in the order of its fields, headers as JSON text."""
    return StoredDeadLetter._make((*row[:6], _headers(row[6]), *row[7:]))


def _headers(text: str) -> list[tuple[str, bytes | None]]:
    return [(name, None if value is None else value.encode("latin-1")) for name, value in json.loads(text)]


def dead_letter_row(letter: DeadLetter) -> tuple[Any, ...]:
    """A ``staged_dead_letter``."""
    headers = [[name, None if value is None else value.decode("latin-1")] for name, value in letter.headers]
    return (
        letter.offset,
        letter.tenant_id,
        letter.key,
        json.dumps(headers).encode(),
        letter.value,
        letter.stage,
        letter.reason,
        letter.fingerprint,
    )
