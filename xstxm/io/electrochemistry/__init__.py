"""Logs of electrochemistry: voltage, current and charge against time."""

from xstxm.io.electrochemistry.reader import read_electrochemistry

__all__ = ["read_electrochemistry"]
