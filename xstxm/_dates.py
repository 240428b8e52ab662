"""Dates as text, as files and attributes have them."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from xstxm.errors import OptionError

TIME_ZONE = "time_zone"
"""Attribute of dates that were text: ``"UTC"`` where the text named a zone, else ``"not given"``."""


def date_of(text: object, option: str = "start_time") -> tuple[np.datetime64, dict[str, str]]:
    """Return a date in ISO 8601, in UTC where it names a zone, and the attribute that says which."""
    date = written_date(text, option)
    return in_utc(date), zone_of(date)


def written_date(text: object, option: str = "start_time") -> datetime:
    """Return a date in ISO 8601 as it is written."""
    try:
        return datetime.fromisoformat(str(text))
    except ValueError as error:
        raise OptionError(option, text, "give a date in ISO 8601, as '2026-03-01T10:00:00'") from error


def zone_of(date: datetime) -> dict[str, str]:
    """Return the attribute that says of which zone `in_utc` gives a date."""
    return {TIME_ZONE: "UTC" if date.tzinfo else "not given"}


def in_utc(date: datetime) -> np.datetime64:
    """Return a date that names a zone in UTC, another as it is."""
    return np.datetime64(date.astimezone(UTC).replace(tzinfo=None) if date.tzinfo else date, "ns")
