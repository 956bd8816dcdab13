"""RFC 3339's grammar and calendar: whether a text is a moment."""

from __future__ import annotations

import re
from datetime import date

_FORM = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt]([01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?"
    r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)


def is_rfc3339(text: str) -> bool:
    """Date, time and offset, with a day that exists; a leap second is a second."""
    found = _FORM.fullmatch(text)
    if found is None:
        return False
    year, month, day = int(found[1]), int(found[2]), int(found[3])
    try:
        # the year 0, which RFC 3339 knows and Python does not, is a leap year
        date(year or 2000, month, day)
    except ValueError:
        return False
    return True
