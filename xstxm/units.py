"""Units: strings at rest, pint at the edge. The only module that imports pint.

At rest a unit is an ASCII string in ``attrs["units"]`` that pint's default registry parses. Numbers
with units come in through `to_magnitude` and nothing but plain floats goes further.
"""

from __future__ import annotations

import functools
import math
import re
import threading
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import xarray as xr

from xstxm.errors import IncompatibleUnitsError, MissingUnitsError, SchemaError, UnitsError, shown

if TYPE_CHECKING:
    import pint

EnergyLike: TypeAlias = "float | str | pint.Quantity"
AmountLike: TypeAlias = "float | str | pint.Quantity"
EnergyMove: TypeAlias = EnergyLike | Literal["fit"]
"""A difference of energies, or that it is to be found."""
LengthLike: TypeAlias = "float | str | pint.Quantity"
XarrayObject = TypeVar("XarrayObject", bound=xr.DataArray | xr.Dataset)

_SPELLINGS = {
    "": "1",
    "cts": "count",
    "ct": "count",
    "Counts": "count",
    "µm": "um",
    "μm": "um",
    "micron": "um",
    "microns": "um",
    "Å": "angstrom",
    "Hz": "count/s",
    "ev": "eV",
    "EV": "eV",
    "kev": "keV",
    "KeV": "keV",
}
_LAST_WORD = re.compile(r"(?<=[\d.])\s*([^\W\d_]+)\s*$")
_ARBITRARY = ("a.u.", "arb. units", "arb. u.")
_LONGEST = 100
_BUILDING = threading.RLock()
_DOT_BETWEEN = re.compile(r"(?<=[^\W\d])\.(?=[^\W\d])")  # mA.h of a cycler's log, which pint 0.26 does not take
_POWER_OF_NUMBER = re.compile(r"\d[\s)]*(\*\*|\^|[⁰¹²³⁴⁵⁶⁷⁸⁹⁻])")


@functools.cache
def _registry() -> pint.UnitRegistry:
    import pint

    with _BUILDING:  # another thread would see a registry with half of its definitions, and take no unit for one
        registry = pint.get_application_registry()
        try:
            registry.Unit("dimensionless")
        except BaseException:  # an interrupt would leave pint with half of its definitions, to be used from then on
            pint.set_application_registry(pint.LazyRegistry())
            raise
        return registry


def is_quantity(value: object) -> bool:
    """Tell whether a value is a pint quantity, without importing pint."""
    return hasattr(value, "magnitude") and hasattr(value, "units")


@functools.lru_cache(256)
def _parse(units: str) -> pint.Unit:
    text = _SPELLINGS.get(units.strip(), units.strip())
    if text in _ARBITRARY:
        raise UnitsError(f"{units!r} is no unit: say '1' for a number without one, or 'count' for counts")
    try:
        if len(text) > _LONGEST or _POWER_OF_NUMBER.search(text):
            # pint would evaluate 9**9**9**9, which a broken file may say
            raise ValueError("too long, or a power of a number")
        return _registry().Unit("dimensionless" if text == "1" else _DOT_BETWEEN.sub("*", text))
    except Exception as error:  # pint lets its tokenizer's and Python's own errors through
        raise UnitsError(
            f"cannot understand the unit {shown(units)}: write it as 'eV', 'um', 'count/ms', '1/nm', 'cm**2/g', '1'"
        ) from error


@functools.lru_cache(256)
def normalize(units: str) -> str:
    """Return the canonical ASCII spelling of a unit string.

    Examples
    --------
    >>> from xstxm import units
    >>> units.normalize("µm"), units.normalize("counts"), units.normalize("nm**-1")
    ('um', 'count', '1/nm')
    """
    return _format(_parse(units))


def _format(unit: pint.Unit) -> str:
    """Canonical ASCII text of a pint unit: ``1``, ``eV``, ``1/nm``, ``cm**2/g``."""
    over: list[str] = []
    under: list[str] = []
    for name, power in sorted((name, float(power)) for name, power in unit._units.items()):  # type: ignore[arg-type]
        size = abs(power)
        text = _symbol(name) if size == 1 else f"{_symbol(name)}**{size:g}"
        (over if power > 0 else under).append(text)
    top = "*".join(over) or "1"
    return top + "".join(f"/{text}" for text in under)


@functools.cache
def _symbol(name: str) -> str:
    """ASCII symbol of a unit, or its name where the symbol would be read back as another unit."""
    registry = _registry()
    unit = registry.Unit(name)
    given = registry.get_symbol(name)
    for symbol in (given, given.replace("µ", "u").replace("μ", "u")):
        try:
            if symbol.isascii() and symbol.isidentifier() and registry.Unit(symbol) == unit:
                return symbol
        except Exception:  # not a unit by itself: the name is
            continue
    return name


@functools.lru_cache(256)
def derive(left: str, right: str, op: str = "/") -> str:
    """Return the units of a product or a quotient.

    Examples
    --------
    >>> from xstxm import units
    >>> units.derive("1", "1/nm", op="/")
    'nm'
    """
    a, b = _parse(left), _parse(right)
    return _format(a / b if op == "/" else a * b)


def same_kind(left: str, right: str) -> bool:
    """Tell whether two units convert into each other."""
    a, b = _parse(left), _parse(right)
    return bool(a.is_compatible_with(b)) and _counts(a) == _counts(b)


def _counts(unit: pint.Unit) -> float:
    """Power of counts in a unit: to pint a count is a mere number, to a spectromicroscopist it is not."""
    return math.fsum(float(power) for name, power in unit._units.items() if name.endswith("count"))  # type: ignore[arg-type]


@functools.lru_cache(256)
def factor(found: str, wanted: str, what: str = "value") -> float:
    """Return the number that converts values in one unit to another.

    Raises
    ------
    IncompatibleUnitsError
        The units do not convert.
    """
    a, b = _parse(found), _parse(wanted)
    if not same_kind(found, wanted):
        raise IncompatibleUnitsError(what, found, wanted)
    return float(_registry().Quantity(1.0, a).to(b).magnitude)


def units_of(array: xr.DataArray, what: str | None = None, wanted: str | None = None) -> str:
    """Return the canonical units of an array, or raise `MissingUnitsError` that names those wanted."""
    if "units" not in array.attrs:
        what = what or repr(str(array.name or "the array"))
        example = "'count' for counts, 'um' for positions, '1' for a plain number" if wanted is None else repr(wanted)
        raise MissingUnitsError(what, f"set them, e.g. array.attrs['units'] = {example}")
    return normalize(str(array.attrs["units"]))


def to_magnitude(
    value: EnergyLike, like: xr.DataArray | str, what: str = "value", *, spectroscopy: bool = True
) -> float:
    """Return a number in the units of `like`: the only door for quantities.

    Parameters
    ----------
    value
        A float (already in those units), a string with a unit (``"515 eV"``, ``"0.515 keV"``,
        ``"2.4 nm"`` through the spectroscopy context) or a pint quantity.
    like
        An array with ``attrs["units"]``, or a unit string.
    what
        What the value is, for the error message.
    spectroscopy
        Let wavelengths and frequencies stand for energies; off for differences of energies.

    Raises
    ------
    MissingUnitsError
        A string without a unit.
    IncompatibleUnitsError
        A unit of another kind.

    Examples
    --------
    >>> from xstxm import units
    >>> units.to_magnitude("0.515 keV", "eV")
    515.0
    """
    wanted = like if isinstance(like, str) else units_of(like)
    if isinstance(value, str):
        value = _quantity(value, wanted, what)
    try:
        number = _convert(value, wanted, what, spectroscopy) if is_quantity(value) else float(value)
    except (TypeError, ZeroDivisionError):
        number = math.nan
    if not math.isfinite(number):
        raise UnitsError(f"{what} is {shown(value)}: give one finite number, or one with a unit as {_example(wanted)}")
    return number


def _example(unit: str) -> str:
    return repr(f"{515 if unit == 'eV' else 1} {unit}")


def _quantity(text: str, wanted: str, what: str) -> pint.Quantity:
    spelled = _LAST_WORD.sub(lambda word: f" {_SPELLINGS[word[1]]}" if word[1] in _SPELLINGS else word[0], text)
    try:
        quantity: pint.Quantity = _registry().Quantity(spelled)
    except Exception as error:  # pint lets its tokenizer's and Python's own errors through
        raise UnitsError(f"cannot understand {what} {text!r}: write it as {_example(wanted)}") from error
    if not is_quantity(quantity) or (not quantity.units._units and wanted != "1"):
        number = text.strip()
        raise MissingUnitsError(f"{what} {text!r}", f"write {number} (in {wanted}) or '{number} {wanted}'")
    if quantity.units == _registry().Unit("css_pixel") and wanted != "css_pixel":
        raise UnitsError(f"{what} is {text!r}, pixels: give it in {wanted}, the number of pixels times their size")
    return quantity


def _convert(quantity: Any, wanted: str, what: str, spectroscopy: bool) -> float:
    import pint

    unit = _parse(wanted)
    context = ("spectroscopy",) if spectroscopy and unit.is_compatible_with(_parse("eV")) else ()
    try:
        return drop_noise(quantity.to(unit, *context).magnitude)
    except pint.errors.DimensionalityError as error:
        raise IncompatibleUnitsError(what, _format(quantity.units), wanted) from error


def drop_noise(number: float) -> float:
    """Drop the last bits that a conversion adds, so that ``"0.515 keV"`` is 515 eV exactly."""
    return float(f"{float(number):.14g}")


def to_units(array: xr.DataArray, wanted: str, what: str | None = None) -> xr.DataArray:
    """Return an array in the wanted units (lazy, keeps a float's dtype); unchanged when it has them already."""
    found = units_of(array, what, normalize(wanted))
    if found == normalize(wanted):
        return array
    scale = factor(found, wanted, what or str(array.name))
    typed = array.dtype.type(scale) if array.dtype.kind == "f" else scale
    return (array * typed).assign_attrs({**array.attrs, "units": normalize(wanted)})


def dequantify(obj: XarrayObject) -> XarrayObject:
    """Return the object with plain arrays and units in attrs, where pint-xarray quantified it."""
    if not isinstance(obj, xr.DataArray | xr.Dataset):
        found = type(obj).__name__
        raise SchemaError(
            f"expected a DataArray or a Dataset, found a {found}: xstxm.open_stack opens a file, xstxm.formats() names other readers"
        )
    variables = [obj.variable] if isinstance(obj, xr.DataArray) else list(obj.variables.values())
    quantified = any(is_quantity(variable._data) for variable in variables)
    if not quantified and not any(type(index).__name__ == "PintIndex" for index in obj.xindexes.values()):
        return obj
    import pint_xarray  # noqa: F401  registers .pint; whoever quantified the object has it

    plain: Any = obj.pint.dequantify(format="~C")
    arrays: list[xr.DataArray] = [plain] if isinstance(plain, xr.DataArray) else list(plain.data_vars.values())
    for array in [*arrays, *plain.coords.values()]:
        if "units" in array.attrs:
            array.attrs["units"] = normalize(str(array.attrs["units"]))
    return plain
