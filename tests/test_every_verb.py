"""What holds for all verbs alike: quantified stacks, metadata, variances, byte orders, numbers that are none."""

from __future__ import annotations

import functools
import inspect
import warnings

import numpy as np
import pytest
import xarray as xr

import xstxm
from xstxm.accessor import StxmAccessor
from xstxm.errors import OptionError, SchemaError

EDGE = {"pre_edge": (508, 512), "post_edge": (526, 528), "pre_order": 0}
REFERENCES = xstxm.testing.simulate_references()
SOME = [514.0, 516.4, 517.0, 518.4, 519.2, 525.0, 528.8, 530.0]

VERBS = {
    "sel_energy": lambda s: xstxm.sel_energy(s, 510, 525),
    "interp_energy": lambda s: xstxm.interp_energy(s, [516.1, 518.2]),
    "calibrate_energy": lambda s: xstxm.calibrate_energy(s, 0.2),
    "normalize_edge": lambda s: xstxm.normalize_edge(s, **EDGE),
    "edge_map": lambda s: xstxm.edge_map(s, (515, 518.4), method="derivative", signal="optical_density"),
    "peak_map": lambda s: xstxm.peak_map(s, (517, 519.6)),
    "difference_map": lambda s: xstxm.difference_map(s, 518.4, (508, 512)),
    "ratio_map": lambda s: xstxm.ratio_map(s, (518, 519), (516, 517)),
    "dichroism": lambda s: xstxm.dichroism(s, plus="a", minus="b"),
    "flag_frames": xstxm.flag_frames,
    "drop_frames": lambda s: xstxm.drop_frames(s, [516.4]),
    "despike": xstxm.despike,
    "repair_pixels": xstxm.repair_pixels,
    "subtract_dark": lambda s: xstxm.subtract_dark(s, 3.0),
    "normalize_current": lambda s: xstxm.normalize_current(s, 400.0),
    "level_lines": xstxm.level_lines,
    "line_profile": lambda s: xstxm.line_profile(s, (0.1, 0.1), (0.4, 0.3), width=0.1),
    "bin_pixels": xstxm.bin_pixels,
    "crop": lambda s: xstxm.crop(s, {"x": (0.1, 0.3)}),
    "estimate_shifts": lambda s: xstxm.estimate_shifts(s, "previous"),
    "apply_shifts": lambda s: xstxm.apply_shifts(s, shifts(s)),
    "align": lambda s: xstxm.align(s, "previous"),
    "estimate_i0": xstxm.estimate_i0,
    "optical_density": xstxm.optical_density,
    "with_variance": xstxm.with_variance,
    "from_transmission": xstxm.from_transmission,
    "join_phase_shift": lambda s: xstxm.join_phase_shift(s, xstxm.testing.simulate_phase_references()),
    "phase_references": lambda s: xstxm.phase_references(s.isel(reference=[0, 1]), "V2O5", 3.36),
    "spectrum": lambda s: xstxm.spectrum(s, {"x": (0.1, 0.3)}),
    "internal_references": lambda s: xstxm.internal_references(s, {"a": {"x": (0.1, 0.3)}, "b": {"x": (0.0, 0.1)}}),
    "denoise": lambda s: xstxm.denoise(s, n_components=2),
    "nmf": lambda s: xstxm.nmf(s, 2, n_starts=1, tolerance=0.05),
    "mcr": lambda s: xstxm.mcr(s, 2, n_starts=1, tolerance=0.05),
    "with_references": lambda s: xstxm.with_references(s, REFERENCES),
    "estimate_energy_shift": lambda s: xstxm.estimate_energy_shift(xstxm.sel_energy(s, 510, 526), REFERENCES),
    "fit": lambda s: xstxm.fit(s, REFERENCES),
    "predict": xstxm.predict,
    "residual": lambda s: xstxm.residual(s, fitted()),
    "pca": lambda s: xstxm.pca(s, 2),
    "reconstruct": xstxm.reconstruct,
    "cluster": lambda s: xstxm.cluster(s, 2, n_components=2),
    "phase_map": lambda s: xstxm.phase_map(s, REFERENCES),
    "phase_summary": xstxm.phase_summary,
    "track_particles": xstxm.track_particles,
    "particles": xstxm.particles,
    "compare": lambda s: xstxm.compare(s, given("strain")),
    "coarse_grain": xstxm.coarse_grain,
    "correlation_length": xstxm.correlation_length,
    "heterogeneity": lambda s: xstxm.heterogeneity(s, halves(s)),
    "two_point_correlation": xstxm.two_point_correlation,
    "interface_density": xstxm.interface_density,
    "strain": xstxm.strain,
    "concentration": xstxm.concentration,
    "gradient": xstxm.gradient,
    "interface_map": xstxm.interface_map,
    "stress": lambda s: xstxm.stress(s, xstxm.mechanics.Isotropic("100 GPa", 0.3)),
    "thickness": lambda s: xstxm.thickness(s, "V2O5", 3.36),
    "distinguishability": lambda s: xstxm.distinguishability(s, counts=5000),
    "design_energies": lambda s: xstxm.design_energies(s, 6, criterion="a-optimal", counts=5000, candidates=SOME),
    "evaluate_energies": lambda s: xstxm.evaluate_energies(s, REFERENCES, s["energy"][::6]),
}
"""One call of each verb."""
COUNTS = {"flag_frames", "despike", "repair_pixels", "subtract_dark", "normalize_current", "level_lines", "estimate_i0"}
COUNTS |= {"optical_density", "with_variance", "estimate_shifts", "align", "apply_shifts"}
"""Verbs that read counts; the others read an optical density, or a result."""
LENGTHS = ("coarse_grain", "correlation_length", "heterogeneity", "interface_density", "two_point_correlation")
"""Verbs that tell at which lengths a map varies."""
OF_PHASES = {"phase_summary", "particles", "compare", "strain", "concentration", "gradient", "interface_map", *LENGTHS}
"""Verbs that read a phase map."""

HANDED_ON = {"chunk_report", "compute", "explore", "to_hyperspy"}
"""Methods that hand a stack as it is to memory or to another program, or tell of it, and are no verbs."""


@functools.cache
def counts() -> xr.Dataset:
    stack = xstxm.testing.simulate_stack(shape=(24, 28), seed=0)[["intensity"]]
    return xstxm.sel_energy(stack, 508, 528).assign_attrs(title="a test", sample="grains")


@functools.cache
def density() -> xr.Dataset:
    return xstxm.optical_density(counts())


@functools.cache
def fitted() -> xr.Dataset:
    return xstxm.fit(density(), REFERENCES)


def shifts(stack: xr.Dataset) -> xr.Dataset:
    energy = counts()["energy"]
    moved = xr.DataArray(np.full(energy.size, 0.02), dims="energy", coords={"energy": energy}, attrs={"units": "um"})
    return xr.Dataset({"shift_y": moved, "shift_x": moved})


def halves(maps: xr.Dataset) -> xr.DataArray:
    """Return two particles, left and right."""
    return xr.DataArray(np.where(np.arange(28) < 14, 1, 2)[None].repeat(24, 0), dims=("y", "x"))


@functools.cache
def phases() -> xr.Dataset:
    return xstxm.phase_map(density(), REFERENCES)


@functools.cache
def given(verb: str) -> xr.Dataset:
    """Return what a verb is called with."""
    if verb == "predict":
        return fitted()
    if verb == "reconstruct":
        return xstxm.pca(density(), 2)
    if verb in OF_PHASES:
        return phases()
    if verb == "track_particles":
        image = np.repeat(np.arange(12).reshape(3, 4), 4, axis=1)[None].repeat(2, axis=0)
        return xr.Dataset(
            {"particle_label": (("time", "y", "x"), image)}, {"time": ("time", [0.0, 60.0], {"units": "s"})}
        )
    if verb == "stress":
        return xstxm.strain(given("strain"))
    if verb in ("distinguishability", "design_energies", "phase_references"):
        return REFERENCES
    if verb in ("from_transmission", "join_phase_shift"):
        wave = xstxm.testing.simulate_transmission(shape=(24, 28), seed=0)[["transmission"]]
        return wave if verb == "from_transmission" else xstxm.from_transmission(wave)
    if verb == "dichroism":
        return xr.concat([density(), density()], xr.DataArray(["a", "b"], dims="polarization"))
    return counts() if verb in COUNTS else density()


def test_table__holds_every_verb():
    methods = {name for name, member in vars(StxmAccessor).items() if inspect.isfunction(member)}
    assert {name for name in methods if not name.startswith("_")} == {*VERBS, *HANDED_ON}


@pytest.mark.parametrize("verb", VERBS)
def test_verbs__take_what_pint_xarray_quantified(verb):
    pytest.importorskip("pint_xarray")
    stack = given(verb)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xstxm.errors.AlignmentWarning)
        plain, found = VERBS[verb](stack), VERBS[verb](stack.pint.quantify())
    assert not any(xstxm.units.is_quantity(variable.data) for variable in found.coords.variables.values())
    xr.testing.assert_allclose(found.drop_attrs(), plain.drop_attrs())
    arrays = [found] if isinstance(found, xr.DataArray) else list(found.data_vars.values())
    wanted = [plain] if isinstance(plain, xr.DataArray) else list(plain.data_vars.values())
    for array, expected in zip(arrays, wanted, strict=True):
        assert array.attrs.get("units") == expected.attrs.get("units")


@pytest.mark.parametrize("verb", VERBS)
def test_verbs__carry_what_a_stack_says_about_itself(verb):
    stack = given(verb).assign_attrs(title="a test", sample="grains")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xstxm.errors.AlignmentWarning)
        result = VERBS[verb](stack)
    if isinstance(result, xr.Dataset):
        assert (result.attrs["title"], result.attrs["sample"]) == ("a test", "grains")


CARRY = {
    "despike": lambda s, signal: xstxm.despike(s, signal=signal),
    "repair_pixels": lambda s, signal: xstxm.repair_pixels(s, BAD, fill="neighbours", signal=signal),
    "blank pixels": lambda s, signal: xstxm.repair_pixels(s, BAD, signal=signal),
    "normalize_current": lambda s, signal: xstxm.normalize_current(s, 450.0, signal=signal),
    "level_lines": lambda s, signal: xstxm.level_lines(s, min_significance=0.5, signal=signal),
    "level_lines offset": lambda s, signal: xstxm.level_lines(s, kind="offset", min_significance=0.5, signal=signal),
    "svd": lambda s, signal: xstxm.denoise(s, "svd", n_components=3, signal=signal),
    "savgol": lambda s, signal: xstxm.denoise(s, "savgol", signal=signal),
    "tv": lambda s, signal: xstxm.denoise(s, "tv", signal=signal),
    "nlm": lambda s, signal: xstxm.denoise(s, "nlm", signal=signal),
    "normalize_edge": lambda s, signal: xstxm.normalize_edge(s, **EDGE, signal=signal),
    "edge_map": lambda s, signal: xstxm.edge_map(s, (515, 518.4), method="derivative", signal=signal),
    "arctangent": lambda s, signal: xstxm.edge_map(s, (512, 520), method="arctangent", signal=signal),
    "peak_map": lambda s, signal: xstxm.peak_map(s, (517, 519.6), kind="dip", signal=signal),
    "gaussian": lambda s, signal: xstxm.peak_map(s, (515, 522), method="gaussian", kind="dip", signal=signal),
    "difference_map": lambda s, signal: xstxm.difference_map(s, 518.4, (508, 512), signal=signal),
    "ratio_map": lambda s, signal: xstxm.ratio_map(s, (518, 519), (516, 517), signal=signal),
    "optical_density": lambda s, signal: xstxm.optical_density(s, signal=signal),
    "interp_energy": lambda s, signal: xstxm.interp_energy(s, [516.1, 518.2]),
    "bin_pixels": lambda s, signal: xstxm.bin_pixels(s, 2),
}
"""Verbs that carry a variance along, or use it."""
BAD = xr.DataArray(np.eye(24, 28, dtype=bool), dims=("y", "x"))


def with_variance(dtype: str) -> xr.Dataset:
    stack = counts()
    variance = np.round(stack["intensity"]).astype(dtype).assign_attrs(units="count**2")
    return stack.assign(intensity_variance=variance)


def _errors(result: xr.Dataset) -> dict[str, xr.DataArray]:
    return {str(n): a for n, a in result.data_vars.items() if str(n).endswith(("_variance", "_stderr"))}


@functools.cache
def _carried(verb: str) -> dict[str, xr.DataArray]:
    """Return what a verb makes of a variance in floats."""
    return _errors(CARRY[verb](with_variance("float32"), "intensity"))


@pytest.mark.parametrize("verb", CARRY)
@pytest.mark.parametrize("dtype", ["uint16", ">f4"])
def test_verbs__carry_a_variance_of_whole_numbers_as_one_of_floats(verb, dtype):
    expected = _carried(verb)
    found = _errors(CARRY[verb](with_variance(dtype), "intensity"))
    assert expected.keys() == found.keys() != set()
    for name, error in found.items():
        if verb in ("normalize_edge", "optical_density") and name == "intensity_variance":
            continue  # theirs is another one
        assert error.dtype == expected[name].dtype
        np.testing.assert_allclose(error, expected[name], rtol=1e-5)


@pytest.mark.parametrize("verb", [verb for verb in CARRY if verb not in ("interp_energy", "bin_pixels")])
def test_verbs__refuse_a_variance_that_lacks_dimensions(verb):
    stack = with_variance("float32")
    flat = stack.assign(intensity_variance=stack["intensity_variance"].isel(y=0, drop=True))
    with pytest.raises(
        SchemaError, match=r"'intensity_variance' has dims \('energy', 'x'\), wanted those of 'intensity'"
    ):
        CARRY[verb](flat, "intensity")


@pytest.mark.parametrize("verb", CARRY)
def test_verbs__carry_a_variance_in_another_order(verb):
    stack = with_variance("float32")
    turned = stack.assign(intensity_variance=stack["intensity_variance"].transpose("x", "energy", "y"))
    expected = _carried(verb)
    for name, error in _errors(CARRY[verb](turned, "intensity")).items():
        np.testing.assert_allclose(error.transpose(*expected[name].dims), expected[name], rtol=1e-6)


READ = {**CARRY, "nmf": VERBS["nmf"], "mcr": VERBS["mcr"]}


@pytest.mark.parametrize("verb", READ)
@pytest.mark.parametrize("dtype", [">f4", "float16"])
def test_verbs__take_other_byte_orders_and_half_precision(verb, dtype):
    name, stack = ("optical_density", density()) if verb in ("nmf", "mcr") else ("intensity", counts())
    odd = stack.assign({name: stack[name].astype(dtype)})
    native = stack.assign({name: odd[name].astype("float32")})
    calls = [READ[verb](s) if verb in ("nmf", "mcr") else READ[verb](s, name) for s in (odd, native)]
    made = [key for key in calls[0].data_vars if key not in odd or not calls[0][key].equals(odd[key])]
    assert made
    for key in made:
        assert calls[0][key].dtype == calls[1][key].dtype
        np.testing.assert_allclose(calls[0][key], calls[1][key], rtol=1e-5)


STIFF = xstxm.mechanics.Isotropic("100 GPa", 0.3)
NUMBERS = {
    "despike threshold": lambda v: xstxm.despike(counts(), threshold=v),
    "level_lines min_significance": lambda v: xstxm.level_lines(counts(), min_significance=v),
    "flag_frames min_similarity": lambda v: xstxm.flag_frames(counts(), min_similarity=v),
    "flag_frames dark_share": lambda v: xstxm.flag_frames(counts(), dark_share=v),
    "flag_frames max_missing": lambda v: xstxm.flag_frames(counts(), max_missing=v),
    "estimate_i0 fraction": lambda v: xstxm.estimate_i0(counts(), fraction=v),
    "optical_density thick": lambda v: xstxm.optical_density(counts(), thick=v),
    "optical_density saturation": lambda v: xstxm.optical_density(counts(), saturation=[v] if v is None else v),
    "denoise strength": lambda v: xstxm.denoise(density(), "tv", strength=[v] if v is None else v),
    "normalize_edge min_significance": lambda v: xstxm.normalize_edge(density(), **EDGE, min_significance=v),
    "peak_map min_significance": lambda v: xstxm.peak_map(density(), (517, 519.6), min_significance=v),
    "ratio_map min_significance": lambda v: xstxm.ratio_map(density(), 518, 512, min_significance=v),
    "ratio_map min_denominator": lambda v: xstxm.ratio_map(density(), 518, 512, min_denominator=v),
    "dichroism min_significance": lambda v: xstxm.dichroism(given("dichroism"), min_significance=v),
    "dichroism min_denominator": lambda v: xstxm.dichroism(given("dichroism"), min_denominator=v),
    "calibrate_energy scale": lambda v: xstxm.calibrate_energy(density(), scale=v),
    "fit max_optical_density": lambda v: xstxm.fit(density(), REFERENCES, max_optical_density=[v] if v is None else v),
    "nmf tolerance": lambda v: xstxm.nmf(density(), 2, tolerance=v),
    "mcr freedom": lambda v: xstxm.mcr(density(), 3, references=REFERENCES, freedom=v),
    "stress tolerance": lambda v: xstxm.stress(given("stress"), STIFF, tolerance=v),
    "compare confidence": lambda v: xstxm.compare(given("strain"), given("strain"), confidence=v),
    "particles max_neck": lambda v: xstxm.particles(given("particles"), max_neck=v),
    "phase_map min_confidence": lambda v: xstxm.phase_map(density(), REFERENCES, min_confidence=v),
    "design_energies n": lambda v: xstxm.design_energies(REFERENCES, v, criterion="a-optimal", candidates=SOME),
    "distinguishability counts": lambda v: xstxm.distinguishability(REFERENCES, counts=v),
}
WHOLE = {
    "level_lines max_lines": lambda v: xstxm.level_lines(counts(), max_lines=v),
    "bin_pixels factor": lambda v: xstxm.bin_pixels(counts(), v),
    "denoise n_components": lambda v: xstxm.denoise(density(), n_components=[v] if v is None else v),
    "denoise order": lambda v: xstxm.denoise(density(), "savgol", order=[v] if v is None else v),
    "normalize_edge pre_order": lambda v: xstxm.normalize_edge(
        density(), **{**EDGE, "pre_order": [v] if v is None else v}
    ),
    "nmf n_components": lambda v: xstxm.nmf(density(), v),
    "nmf n_starts": lambda v: xstxm.nmf(density(), 2, n_starts=v),
    "mcr max_iterations": lambda v: xstxm.mcr(density(), 2, max_iterations=v),
    "mcr sample": lambda v: xstxm.mcr(density(), 2, sample=v),
    "noise_correlation max_lag": lambda v: xstxm.regions.noise_correlation(density()["optical_density"], max_lag=v),
    "phase_map max_references": lambda v: xstxm.phase_map(
        density(), REFERENCES, selection="bic", max_references=[v] if v is None else v
    ),
    "interface_map max_gap": lambda v: xstxm.interface_map(given("interface_map"), max_gap=v),
    "stress max_iterations": lambda v: xstxm.stress(given("stress"), STIFF, max_iterations=v),
}


@pytest.mark.parametrize("option", [*NUMBERS, *WHOLE])
@pytest.mark.parametrize("value", [np.nan, "a", None, True, [3]], ids=str)
def test_options__that_are_no_number_give_one_clear_error(option, value):
    call = {**NUMBERS, **WHOLE}[option]
    with pytest.raises(OptionError, match=rf"^{option.split()[1]}=.*: give a"):
        call(value)


@pytest.mark.parametrize("option", [name for name in WHOLE if "sample" not in name and "order" not in name])
def test_options__take_a_whole_number_in_any_guise(option):
    if "bin" in option:
        assert WHOLE[option](2.0).sizes["y"] == 12
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xstxm.errors.ConvergenceWarning)
        warnings.simplefilter("ignore", xstxm.errors.NoiseWarning)
        xr.testing.assert_equal(WHOLE[option](np.float64(2.0)), WHOLE[option](2))
