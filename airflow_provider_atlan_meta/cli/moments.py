"""Times on the command line."""

from __future__ import annotations

import argparse
from datetime import datetime


def moment(text: str) -> datetime:
    """ISO 8601 with a zone: an argument type."""
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no time zone; write it as {text}Z")
    return parsed
