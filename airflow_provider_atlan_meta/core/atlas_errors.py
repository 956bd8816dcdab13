"""What a catalog's refusal means, by the code in its body: HTTP statuses alone mislead (404 is three things)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum
from typing import NamedTuple

from airflow_provider_atlan_meta.core.stores import Landing


class Fault(Enum):
    """What a refused call asks of its caller. A bulk is one transaction: nothing of it was written."""

    # one entity can never be written like this: look for it by halves
    POISON = "poison"
    # something it refers to is not there (yet): look for it by halves, come back
    MISSING = "missing"
    TOO_LARGE = "too large"
    # somebody else writes there: fewer at once
    LOCKED = "locked"
    # Of the server; one entity may be the cause. Atlas 2.1 answers two writers that met so as well, without a code.
    INTERNAL = "internal"
    # nothing works right now: come back, with fewer
    AWAY = "away"
    NOT_FOUND = "not found"
    EXISTS = "exists"
    # login, rights or address: no entity can be written
    REFUSED = "refused"


LANDINGS: Mapping[Fault, Landing] = {
    Fault.POISON: Landing.REJECTED,
    Fault.MISSING: Landing.LATER,
    Fault.TOO_LARGE: Landing.REJECTED,
    Fault.LOCKED: Landing.LATER,
    Fault.INTERNAL: Landing.LATER,
    Fault.AWAY: Landing.LATER,
    Fault.NOT_FOUND: Landing.REJECTED,
    Fault.EXISTS: Landing.DONE,
    Fault.REFUSED: Landing.LATER,
}


class Verdict(NamedTuple):
    """:param reason: groups equal failures; a code and its meaning, never a value of an entity."""

    fault: Fault
    reason: str

    @property
    def landing(self) -> Landing:
        """Of one row that was written alone."""
        return LANDINGS[self.fault]


_CODES: Mapping[str, tuple[Fault, str]] = {
    "ATLAS-400-00-014": (Fault.POISON, "the catalog does not know its type"),
    "ATLAS-400-00-02B": (Fault.POISON, "a mandatory attribute is empty"),
    "ATLAS-400-00-502": (Fault.AWAY, "the catalog's search timed out"),
    "ATLAS-403-00-001": (Fault.REFUSED, "the login may not do this"),
    "ATLAS-404-00-001": (Fault.NOT_FOUND, "there is no such type"),
    "ATLAS-404-00-005": (Fault.NOT_FOUND, "there is no such guid"),
    "ATLAS-404-00-007": (Fault.POISON, "a mandatory attribute is missing or a value does not fit its type"),
    "ATLAS-404-00-009": (Fault.NOT_FOUND, "there is no such entity"),
    "ATLAS-404-00-00A": (Fault.MISSING, "an entity it refers to is not in the catalog yet"),
    "ATLAS-406-00-001": (Fault.LOCKED, "tags are being propagated"),
    "ATLAS-409-00-001": (Fault.EXISTS, "the type exists already"),
    "ATLAS-409-00-013": (Fault.LOCKED, "somebody else changes it"),
    "ATLAS-423-00-001": (Fault.LOCKED, "types are being changed"),
    "ATLAS-500-00-005": (Fault.LOCKED, "types are being changed"),
    "ATLAS-500-00-006": (Fault.LOCKED, "an import or export is under way"),
    "ATLAS-500-00-023": (Fault.LOCKED, "the catalog is not ready for this yet"),
}
_STATUSES: Mapping[int, tuple[Fault, str]] = {
    400: (Fault.POISON, "the catalog cannot read it"),
    401: (Fault.REFUSED, "the catalog does not accept the login"),
    403: (Fault.REFUSED, "the login may not do this"),
    408: (Fault.AWAY, "the catalog waited too long"),
    413: (Fault.TOO_LARGE, "larger than the catalog takes"),
    423: (Fault.LOCKED, "somebody else changes it"),
    429: (Fault.AWAY, "the catalog asks for fewer calls"),
    502: (Fault.AWAY, "the catalog is not there"),
    503: (Fault.AWAY, "the catalog is not ready"),
    504: (Fault.AWAY, "the catalog did not answer in time"),
}
# In the cause of a 500: two transactions met in the graph's store.
_LOCKS = ("PermanentLocking", "TemporaryLocking", "JanusGraph")
_ASSOCIATED = "already associated with classification"


def classify(status: int, code: str = "", text: str = "", *, passing: Collection[int] = ()) -> Verdict:
    """The body's code first, then the status.

    :param code: ``errorCode``; empty: the body has none, so it may not be the catalog's at all.
    :param text: ``errorMessage`` and ``errorCause``; looked at, never repeated.
    :param passing: statuses that pass by themselves in this dialect.
    """
    fault, meaning = _fault(status, code, text, passing)
    return Verdict(fault, f"{code or f'HTTP {status}'}: {meaning}")


def _fault(status: int, code: str, text: str, passing: Collection[int]) -> tuple[Fault, str]:
    if status in passing:
        return Fault.AWAY, "the catalog refuses for now"
    if code == "ATLAS-400-00-01A" and _ASSOCIATED in text:
        return Fault.EXISTS, "the classification is there already"
    if code in _CODES:
        return _CODES[code]
    if any(word in text for word in _LOCKS):
        return Fault.LOCKED, "two writers met"
    if status in _STATUSES:
        return _STATUSES[status]
    if status >= 500:
        return Fault.INTERNAL, "the catalog failed"
    if status >= 400 and code:
        return Fault.POISON, "the catalog refuses it"
    return Fault.REFUSED, "this does not answer as a catalog does; check the address"
