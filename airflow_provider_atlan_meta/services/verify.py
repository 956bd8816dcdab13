"""What payloads would become under a mapping, beside what they are expected to become. Writes nothing but golden files.

A payload ``NAME.json`` is a webhook's body as Monte Carlo sends it. Its golden file, where there is one, is
``NAME.entities.json``: the tables it names, each with what it is called.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from airflow_provider_atlan_meta.core.errors import ConfigurationError, RejectedError
from airflow_provider_atlan_meta.core.mapping import Mappings, Resolved
from airflow_provider_atlan_meta.core.montecarlo import Webhook, parse_webhook

GOLDEN = ".entities.json"
_MAX_BYTES = 1 << 20


class NamedTable(NamedTuple):
    """:param table: as the payload names it. :param by: the mapping that named it; empty: why none has."""

    table: str
    platform: str
    qualified_name: str
    by: str = ""
    reason: str = ""

    def to_dict(self) -> dict[str, str]:
        """What a golden file holds: which rule it was does not matter to it."""
        return {"table": self.table, "platform": self.platform, "qualified_name": self.qualified_name}


@dataclass(frozen=True, kw_only=True)
class VerifiedPayload:
    """:ivar expected: by the golden file, or under the other mapping; None: nothing to compare with.
    :ivar rejected: why it is no webhook; empty when it is one.
    """

    file: str
    tables: tuple[NamedTable, ...] = ()
    expected: tuple[NamedTable, ...] | None = None
    is_golden: bool = False
    rejected: str = ""

    def differences(self) -> list[tuple[str, NamedTable | None, NamedTable | None]]:
        """table, what was expected, what is found."""
        if self.expected is None:
            return []
        old = {one.table: one for one in self.expected}
        new = {one.table: one for one in self.tables}
        pairs = [(table, old.get(table), new.get(table)) for table in dict.fromkeys((*old, *new))]
        return [
            (table, before, after)
            for table, before, after in pairs
            if (before and before.to_dict()) != (after and after.to_dict())
        ]

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        return {
            "file": self.file,
            "rejected": self.rejected,
            "entities": [
                {**one.to_dict(), "mapping": one.by or None, "reason": one.reason} for one in self.tables
            ],
            "compared_with": None if self.expected is None else "golden" if self.is_golden else "stored",
            "differences": [
                {
                    "table": table,
                    "expected": before.to_dict() if before else None,
                    "found": after.to_dict() if after else None,
                }
                for table, before, after in self.differences()
            ],
        }


@dataclass(frozen=True, kw_only=True)
class Verified:
    payloads: tuple[VerifiedPayload, ...]

    @property
    def rejected(self) -> int:
        return sum(bool(one.rejected) for one in self.payloads)

    @property
    def unexpected(self) -> int:
        """Payloads that differ from their golden files."""
        return sum(one.is_golden and bool(one.differences()) for one in self.payloads)

    @property
    def changed(self) -> int:
        """Payloads that differ from what they are compared with."""
        return sum(bool(one.differences()) for one in self.payloads)

    def to_dict(self) -> dict[str, Any]:
        tables = [table for one in self.payloads for table in one.tables]
        return {
            "payloads": [one.to_dict() for one in self.payloads],
            "tables": len(tables),
            "provisional": sum(not table.by for table in tables),
            "changed": self.changed,
            "unexpected": self.unexpected,
            "rejected": self.rejected,
        }


def tenant_of(mappings: Sequence[Mappings], tenant: str) -> str:
    """Whose payloads they are: webhooks name no tenant.

    :raises ConfigurationError: not given, and the mappings leave it open.
    """
    tenants = sorted({one.tenant for mapping in mappings for one in mapping.mappings})
    if tenant:
        return tenant
    if len(tenants) != 1:
        told = f"the mapping is about {', '.join(tenants)}" if tenants else "no mapping names one"
        raise ConfigurationError(f"whose payloads are these? {told}; say it with --tenant")
    return tenants[0]


def verify(
    directory: Path, mappings: Mappings, *, tenant: str, against: Mappings | None = None, write: bool = False
) -> Verified:
    """:param against: what payloads without a golden file are compared with.
    :param write: what is found becomes the golden files; compared is what they were before.
    :raises ConfigurationError: the directory cannot be read or holds no payload.
    """
    files = _payload_files(directory)
    verified = []
    for file in files:
        one = _verify_file(file, mappings, tenant, against)
        if write and not one.rejected:
            _write_golden(file, one.tables)
        verified.append(one)
    return Verified(payloads=tuple(verified))


def _payload_files(directory: Path) -> list[Path]:
    try:
        files = sorted(file for file in directory.iterdir() if file.suffix == ".json" and file.is_file())
    except OSError as error:
        raise ConfigurationError(
            f"{directory} cannot be read ({error.strerror}); name a folder of webhook bodies, a .json file each"
        ) from None
    files = [file for file in files if not file.name.endswith(GOLDEN)]
    if not files:
        raise ConfigurationError(
            f"no payload in {directory}; put bodies of webhooks there, a .json file each"
        )
    return files


def _verify_file(file: Path, mappings: Mappings, tenant: str, against: Mappings | None) -> VerifiedPayload:
    golden = _read_golden(_golden_of(file))
    try:
        webhook = _read_webhook(file)
    except RejectedError as error:
        return VerifiedPayload(
            file=file.name, expected=golden, is_golden=golden is not None, rejected=str(error)
        )
    expected = golden
    if golden is None and against is not None:
        expected = tuple(_named(webhook, against, tenant))
    return VerifiedPayload(
        file=file.name,
        tables=tuple(_named(webhook, mappings, tenant)),
        expected=expected,
        is_golden=golden is not None,
    )


def _read_webhook(file: Path) -> Webhook:
    try:
        with file.open("rb") as stream:
            body = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise RejectedError("file cannot be read", detail=str(error.strerror)) from None
    if len(body) > _MAX_BYTES:
        raise RejectedError("larger than 1 MiB", detail="the producer answers 413")
    try:
        return parse_webhook(body)
    except UnicodeDecodeError:
        raise RejectedError("payload is not UTF-8") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise RejectedError("no webhook", detail=str(error)[:300]) from None


def _named(webhook: Webhook, mappings: Mappings, tenant: str) -> Iterator[NamedTable]:
    payload = webhook.payload
    if payload is None or not payload.incident_id or not payload.event_list:
        return
    account = webhook.account.id if webhook.account is not None else ""
    for name in dict.fromkeys(item.table_name for item in payload.event_list):
        if name is None:
            continue
        found = mappings.resolve(tenant, account, payload.group_id, name)
        by, reason = (found.mapping, "") if isinstance(found, Resolved) else ("", found.reason)
        entity = found.entity
        yield NamedTable(
            f"{payload.group_id or ''}.{name}", entity.platform, entity.qualified_name, by, reason
        )


def _golden_of(file: Path) -> Path:
    return file.with_name(file.stem + GOLDEN)


def _read_golden(golden: Path) -> tuple[NamedTable, ...] | None:
    try:
        content: Any = json.loads(golden.read_bytes())
        return tuple(NamedTable(**_texts(one)) for one in content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(
            f"{golden} is no golden file ({type(error).__name__}): a JSON list of objects with table, platform and "
            "qualified_name; remove it, or have it written anew with --write"
        ) from None


def _texts(one: Mapping[str, Any]) -> dict[str, str]:
    if not isinstance(one, dict) or not all(isinstance(value, str) for value in one.values()):
        raise TypeError("not an object of texts")
    return one


def _write_golden(file: Path, tables: Sequence[NamedTable]) -> None:
    golden = _golden_of(file)
    try:
        golden.write_text(json.dumps([one.to_dict() for one in tables], indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise ConfigurationError(f"{golden} cannot be written ({error.strerror})") from None
