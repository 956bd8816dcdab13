"""One revision of one row, as the change triggers tell it on ``<prefix>.changes.v1``, and what its columns were.

A row that is not there has null in every column: before it was created, and after it was deleted. What cannot be
known is ``ABSENT``: the columns of a thin change, and what a row was before a change that does not say it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec

from airflow_provider_atlan_meta.core.errors import RejectedError
from airflow_provider_atlan_meta.core.events import MAX_DEPTH
from airflow_provider_atlan_meta.core.json_document import is_deeper
from airflow_provider_atlan_meta.core.rows import INCIDENT_FIELDS
from airflow_provider_atlan_meta.core.tenancy import is_tenant

# The triggers send nothing above 512 KiB; the rest is room for escapes another writer may choose.
MAX_CHANGE_BYTES = 1 << 20

Op = Literal["created", "updated", "deleted"]
OPS: tuple[Op, ...] = ("created", "updated", "deleted")

# Effective columns by kind: only they make a revision and a change. Those of migrations/change_triggers.py.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "incident": INCIDENT_FIELDS,
    "entity": ("qualified_name", "type_name", "name", "platform", "database_name", "schema_name"),
}


class Absent(Enum):
    """The type of ``ABSENT``: no value, not even null."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent.ABSENT

_UUID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"


class ChangeEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One revision of one row. Readers ignore fields they do not know."""

    change_id: Annotated[
        str,
        msgspec.Meta(
            pattern=_UUID, max_length=36, description="The same revision of the same row has the same id"
        ),
    ]
    kind: Annotated[str, msgspec.Meta(min_length=1, max_length=64, description="incident or entity")]
    op: Annotated[Op, msgspec.Meta(description="What happened to the row")]
    tenant_id: Annotated[
        str, msgspec.Meta(pattern="^[a-z][a-z0-9]{1,30}$", max_length=31, description="Whose row it is")
    ]
    id: Annotated[
        str,
        msgspec.Meta(min_length=1, max_length=4096, description="incident_id, or entity_id as UUID text"),
    ]
    revision: Annotated[
        int, msgspec.Meta(ge=1, le=2**63 - 1, description="Counts effective changes of the row")
    ]
    changed_at: Annotated[
        str, msgspec.Meta(max_length=64, description="When the revision was made (RFC 3339)")
    ]
    changed: Annotated[
        list[str] | None, msgspec.Meta(description="updated: the columns that changed; null: not said")
    ] = None
    before: Annotated[
        dict[str, Any] | None,
        msgspec.Meta(
            description="updated: what the changed columns were; deleted: the whole row; null: not said"
        ),
    ] = None
    after: Annotated[
        dict[str, Any] | None,
        msgspec.Meta(description="The effective columns; null when deleted and in a thin change"),
    ] = None
    truncated: Annotated[
        bool, msgspec.Meta(description="Thin, because the whole is above 512 KiB: read the row")
    ] = False
    reemitted: Annotated[
        bool,
        msgspec.Meta(description="Told again after a lost slot: a final state, without what it was before"),
    ] = False
    held: Annotated[
        bool, msgspec.Meta(description="Made by a replay that keeps quiet: note the revision, tell nobody")
    ] = False

    @property
    def row(self) -> dict[str, Any] | None:
        """The effective columns as they are, or, of a deleted row, as they last were."""
        return self.after if self.after is not None else self.before if self.op == "deleted" else None


_DECODER = msgspec.json.Decoder(ChangeEvent)
_ENUM = "Invalid enum value"


def decode_change(value: bytes) -> ChangeEvent:
    """The change of a record's value. Thin ones (``truncated``) carry no columns.

    :raises RejectedError: no change, or out of bounds; the detail names the field, never a value.
    """
    if len(value) > MAX_CHANGE_BYTES:
        raise RejectedError("change is larger than 1 MiB")
    try:
        change = _DECODER.decode(value)
    except RecursionError:
        raise RejectedError("change is nested deeper than 32 levels") from None
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise RejectedError("record is not a ChangeEvent", detail=_where(error)) from None
    if not is_tenant(change.tenant_id):
        raise RejectedError("record is not a ChangeEvent", detail="no tenant's name - at `$.tenant_id`")
    if "\0" in change.id or "\0" in change.kind:
        raise RejectedError("record is not a ChangeEvent", detail="holds NUL, which no row does - at `$.id`")
    if change.after is None and change.op != "deleted" and not change.truncated:
        raise RejectedError(
            "record is not a ChangeEvent", detail="neither a row nor truncated - at `$.after`"
        )
    if value.count(b"{") + value.count(b"[") > MAX_DEPTH and any(
        is_deeper(part, MAX_DEPTH - 1) for part in (change.before, change.after) if part
    ):
        raise RejectedError("change is nested deeper than 32 levels")
    return change


def _where(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    text = str(error)
    return f"{_ENUM}{text[text.rfind(' - at ') :]}" if text.startswith(_ENUM) else text[:200]


class Transition(NamedTuple):
    """What one column was and is. ``changed`` is None where that cannot be known."""

    before: Any
    after: Any
    changed: bool | None


def transition(change: ChangeEvent, column: str) -> Transition:
    return Transition(before_of(change, column), after_of(change, column), is_changed(change, column))


def before_of(change: ChangeEvent, column: str) -> Any:
    """What the column was; ``before`` says it only of columns that changed, the others were what they are."""
    before, after = change.before, change.after
    if before is not None and column in before:
        return before[column]
    if after is None:
        return ABSENT
    if change.op == "created":
        return None if column in after else ABSENT
    if change.changed is None or column in change.changed:
        return ABSENT
    return after.get(column, ABSENT)


def after_of(change: ChangeEvent, column: str) -> Any:
    """What the column is."""
    if change.after is not None:
        return change.after.get(column, ABSENT)
    if change.op == "deleted" and change.before is not None and column in change.before:
        return None
    return ABSENT


def is_changed(change: ChangeEvent, column: str) -> bool | None:
    """Whether the column is not what it was; None: the change does not say."""
    changed = change.changed
    if changed is not None:
        return column in changed
    row = change.after if change.op == "created" else change.before if change.op == "deleted" else None
    return row[column] is not None if row is not None and column in row else None


def changed_columns(change: ChangeEvent) -> tuple[str, ...] | None:
    """The columns for which ``is_changed``; None: the change does not say."""
    if change.changed is not None:
        return tuple(change.changed)
    row = change.after if change.op == "created" else change.before if change.op == "deleted" else None
    return None if row is None else tuple([column for column, value in row.items() if value is not None])


def completed(
    change: ChangeEvent, *, after: Mapping[str, Any] | None = None, before: Mapping[str, Any] | None = None
) -> ChangeEvent:
    """A thin or recovered change with what it did not carry itself.

    :param after: the row as it was read again; a deleted one has none.
    :param before: what is known of the row as it was, such as what a subscription was last sent; ``{}`` is a row
        it has never heard of; None: nothing is known, so no rule about a change of columns can hold.
    """
    if change.op == "deleted":
        whole = change.before if before is None else dict(before)
        return msgspec.structs.replace(change, before=whole, truncated=False)
    row = dict(after or {})
    if before is None:
        return msgspec.structs.replace(change, after=row, truncated=False)
    changed = [column for column in dict.fromkeys((*row, *before)) if row.get(column) != before.get(column)]
    return msgspec.structs.replace(
        change,
        changed=changed,
        before={column: before.get(column) for column in changed},
        after=row,
        truncated=False,
    )
