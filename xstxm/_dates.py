"""Dates as text, as files and attributes have them."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from xstxm.errors import OptionError


def date_of(text: object, option: str = "start_time") -> np.datetime64:
    """Return a date in ISO 8601, in UTC where it names a zone."""
    try:
        date = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise OptionError(option, text, "give a date in ISO 8601, as '2026-03-01T10:00:00'") from error
    return np.datetime64(date.astimezone(UTC).replace(tzinfo=None) if date.tzinfo else date, "ns")
