"""An analysis is a file: what is recorded can be replayed, to the bit."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest
import xarray as xr
from test_every_verb import VERBS, given

import xstxm
from xstxm.provenance import RECORD, entries


def without_times(obj):
    """Return an object without what says when it was made."""
    return obj.drop_attrs(deep=False).assign_attrs({k: v for k, v in obj.attrs.items() if k not in ("history", RECORD)})


def spied(monkeypatch, verb: str, stack):
    """Return the result of a verb and the arrays it was given besides the stack."""
    seen, function = {}, getattr(xstxm, verb)

    def spy(*args, **kwargs):
        named = inspect.signature(function).bind(*args, **kwargs).arguments
        arrays = {k: v for k, v in list(named.items())[1:] if isinstance(v, xr.DataArray | xr.Dataset | np.ndarray)}
        seen.update(arrays)
        return function(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(xstxm, verb, spy)
        return VERBS[verb](stack), seen


@pytest.mark.parametrize("verb", VERBS)
def test_recipe__of_every_verb_gives_the_identical_result(verb, monkeypatch, tmp_path):
    stack = given(verb)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xstxm.errors.AlignmentWarning)
        warnings.simplefilter("ignore", xstxm.errors.MetadataWarning)
        result, inputs = spied(monkeypatch, verb, stack)
        done = len(entries(stack))
        alone = result.assign_attrs({RECORD: xstxm.provenance.json.dumps(entries(result)[done:])})
        path = xstxm.Recipe.from_result(alone, inputs=inputs).save(tmp_path / "recipe.toml")
        again = xstxm.Recipe.load(path).apply(stack)
    xr.testing.assert_identical(without_times(again), without_times(result))


def test_recipe__of_every_verb_there_is():
    """Verbs that no test above calls are readers, or join several stacks."""
    from xstxm._recipe_record import READERS, verbs

    several = {"merge_stacks", "join_particles", "time_series", "trajectories", "state_of_charge"}
    two = {"bland_altman", "locate", "read_shifts", "reference_set"}
    assert set(verbs()) - set(VERBS) == set(READERS) | several | two
