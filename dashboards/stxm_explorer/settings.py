"""Groups of choices that are checked by their parameters, and are JSON outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import param

from stxm_explorer.region import Region
from xstxm.errors import OptionError

MOST = 10_000
"""Members of a list of choices, unless it says otherwise."""
LONGEST = 1000
"""Characters of a text that is chosen: the names of files may be long."""

S = TypeVar("S", bound="Settings")


class Settings(param.Parameterized):
    """A group of choices."""

    _ITEMS: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}
    """How the items of a list are made of what JSON holds."""
    _MOST: ClassVar[Mapping[str, int]] = {}
    """How many items a list, or names a table, has at most, where that is not `MOST`."""

    def table(self, *, short: bool = False) -> dict[str, Any]:
        """Return the choices that differ from the defaults, as JSON knows them; a short table is hard to read."""
        found = {}
        for name in self._choices():
            value = getattr(self, name)
            if isinstance(value, Settings):
                if inner := value.table(short=short):
                    found[name] = inner
            elif value != self.param[name].default:
                found[name] = _plain(value, short)
        return found

    def restore(self, table: Any) -> None:
        """Take the choices of a table, and the defaults of all others.

        Raises
        ------
        OptionError
            It has a choice that there is not, or a value that cannot be; the state is as before.
        """
        values = self._checked(table)
        groups = {name: inner for name, inner in values.items() if isinstance(getattr(self, name), Settings)}
        with param.parameterized.batch_call_watchers(self):
            for name, inner in groups.items():
                getattr(self, name).restore(inner)
            self.param.update({name: value for name, value in values.items() if name not in groups})

    @classmethod
    def from_table(cls: type[S], table: Any) -> S:
        """Return the choices of a table; see `restore`."""
        made = cls()
        made.restore(table)
        return made

    def require_room(self, name: str, value: Any) -> None:
        """Refuse a text that is too long, or a list of too many.

        Raises
        ------
        OptionError
            It is.
        """
        if isinstance(value, str) and len(value) > LONGEST:
            raise OptionError(f"state: {name}", f"{len(value)} characters", f"write at most {LONGEST}")
        most = self._MOST.get(name, MOST)
        if isinstance(value, list | tuple | Mapping) and len(value) > most:
            raise OptionError(
                f"state: {name}", f"{len(value)} of them", f"keep at most {most}, and close or remove others"
            )

    def _choices(self) -> list[str]:
        return [name for name in self.param if name != "name"]

    def _checked(self, table: Any) -> dict[str, Any]:
        """Return a value for every choice, after all were tried on another object."""
        if not isinstance(table, Mapping):
            raise OptionError("state", str(table)[:80], "expected a table of choices, as the explorer writes it")
        if unknown := sorted({*map(str, table)} - {*self._choices()}):
            raise OptionError(
                "state", unknown[0][:80], "there is no such choice: the file is of another version, or none"
            )
        values: dict[str, Any] = {}
        for name in self._choices():
            group = getattr(self, name)
            if isinstance(group, Settings):
                values[name] = table.get(name, {})
                type(group).from_table(values[name])
            else:
                values[name] = self._value(name, table)
        return values

    def _value(self, name: str, table: Mapping[str, Any]) -> Any:
        default = self.param[name].default
        if name not in table:
            return [*default] if isinstance(default, list) else {**default} if isinstance(default, dict) else default
        value = table[name]
        self.require_room(name, value)
        if (make := self._ITEMS.get(name)) is not None and isinstance(value, list):
            value = [make(item) for item in value]
        elif isinstance(self.param[name], param.Tuple | param.Range) and isinstance(value, list):
            value = tuple(value)
        try:
            type(self)(**{name: value})
        except (ValueError, TypeError) as error:
            raise OptionError(f"state: {name}", str(value)[:80], "that cannot be chosen") from error
        return value


def _plain(value: Any, short: bool) -> Any:
    if isinstance(value, Settings):
        return value.table(short=short)
    if isinstance(value, Region):
        return value.short_table() if short else value.table()
    return [_plain(item, short) for item in value] if isinstance(value, list | tuple) else value


def by_name(what: str, values: Mapping[Any, Any], good: Callable[[Any], bool]) -> dict[str, Any]:
    """Return values by name, or raise `OptionError` where one is not good."""
    for name, value in values.items():
        if not isinstance(name, str) or len(name) > LONGEST or not good(value):
            raise OptionError(f"state: {what}", f"{name}: {value}"[:80], "that cannot be chosen")
    return dict(values)


def unused(name: str, taken: list[str]) -> str:
    """Return a name that is not taken.

    Examples
    --------
    >>> unused("particle", ["particle", "particle 2"])
    'particle 3'
    """
    if name not in taken:
        return name
    return next(new for k in range(2, len(taken) + 3) if (new := f"{name} {k}") not in taken)
