"""A check that a result follows its written schema."""

from __future__ import annotations

import xarray as xr

from xstxm.conventions import SCHEMAS, validate
from xstxm.errors import ChoiceError, SchemaError


def assert_conforms(obj: xr.Dataset, schema: str) -> None:
    """Assert that a Dataset follows a schema: variables, dimensions, kinds and units.

    Parameters
    ----------
    obj
        What to check. Lazy: nothing is computed.
    schema
        A name in `xstxm.conventions.SCHEMAS`: ``"stack"``, ``"reference_set"``, ``"fit"``,
        ``"phase_map"``, ...

    Raises
    ------
    AssertionError
        With every departure, not only the first.
    ChoiceError
        There is no such schema.

    Examples
    --------
    >>> import xstxm
    >>> xstxm.testing.assert_conforms(xstxm.testing.simulate_references(), "reference_set")
    """
    __tracebackhide__ = True
    if schema not in SCHEMAS:
        raise ChoiceError("schema", schema, list(SCHEMAS))
    if not isinstance(obj, xr.Dataset):
        raise AssertionError(f"not a {schema}: it is a {type(obj).__name__}, wanted a Dataset")
    try:
        validate(obj, schema)
    except SchemaError as error:
        raise AssertionError(str(error)) from None
