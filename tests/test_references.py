from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from laziness import raise_if_dask_computes

import xstxm
from xstxm.errors import (
    ChoiceError,
    EnergyRangeError,
    IncompatibleUnitsError,
    MetadataWarning,
    MissingVariableError,
    OptionError,
    ReferenceSpectrumError,
    SchemaError,
    UnitsError,
)
from xstxm.references import references_at

E = np.linspace(505, 530, 26)
A, B = np.exp(-(((E - 517) / 3) ** 2)), np.exp(-(((E - 521) / 3) ** 2))


def test_reference_set__follows_the_schema():
    refs = xstxm.reference_set(
        {"V2O5": (E, A), "LiV2O5": (E, B)},
        units="nm**-1",
        composition={"V2O5": 0, "LiV2O5": 1},
        composition_name="x in LixV2O5",
        color={"V2O5": "#000000"},
        source="synthetic",
    )
    xstxm.testing.assert_conforms(refs, "reference_set")
    assert refs["absorption"].attrs["units"] == "1/nm"
    assert refs["composition"].attrs["long_name"] == "x in LixV2O5"
    np.testing.assert_array_equal(refs["color"], ["#000000", ""])
    np.testing.assert_array_equal(refs.sel(reference="LiV2O5")["absorption"], B)


def test_reference_set__grids_of_their_own_leave_nan_not_guesses():
    refs = xstxm.reference_set({"a": (E[:20], A[:20]), "b": (E[4:], B[4:])})
    assert refs.sizes == {"reference": 2, "energy": 26}
    np.testing.assert_array_equal(refs["absorption"].isnull().sum("energy"), [6, 4])


def test_reference_set__descending_and_kilo_electron_volt():
    refs = xstxm.reference_set({"a": (E[::-1] / 1000, A[::-1])}, energy_units="keV")
    np.testing.assert_allclose(refs["energy"], E)
    np.testing.assert_allclose(refs["absorption"].isel(reference=0), A)
    assert refs["energy"].attrs["units"] == "eV"


def test_reference_set__takes_arrays_with_coordinates(spectra):
    refs = xstxm.reference_set({"A": spectra.sel(reference="A", drop=True), "raw": (E, A)})
    assert list(refs["reference"].values) == ["A", "raw"]


@pytest.mark.parametrize(
    ("spectra", "kwargs", "message"),
    [
        pytest.param({}, {}, "no reference spectra given", id="none"),
        pytest.param({"a": (E, A * 0 + 1)}, {}, "'a' are constant over energy", id="constant"),
        pytest.param({"a": (E, A * np.nan)}, {}, "'a' holds no finite values", id="all NaN"),
        pytest.param({"a": (E, A[:3])}, {}, "26 energies and 3 values", id="lengths"),
        pytest.param({"a": (np.r_[E, 510.0], np.r_[A, 1.0])}, {}, r"energies twice \(510 eV\)", id="repeat"),
        pytest.param({"a": (E, A), 1: (E, B), "1": (E, B)}, {}, "names given twice: '1'", id="names"),
        pytest.param(
            {"a": (E, A)}, {"composition": {"b": 1}}, "not references: 'b'; nothing for 'a'", id="composition"
        ),
        pytest.param(
            {"a": (E, A)}, {"color": {"c": "red"}}, "color has names that are not references: 'c'", id="color"
        ),
    ],
)
def test_reference_set__refuses(spectra, kwargs, message):
    with pytest.raises(ReferenceSpectrumError, match=message):
        xstxm.reference_set(spectra, **kwargs)


def test_reference_set__refuses_unknown_units():
    with pytest.raises(UnitsError, match="cannot understand the unit 'nm-1'"):
        xstxm.reference_set({"a": (E, A)}, units="nm-1")


def test_references_at__interpolates_each_on_its_own_range(stack):
    coarse = np.linspace(500, 540, 81)
    refs = xstxm.reference_set({"fine": (E, A), "coarse": (coarse, np.sin(coarse / 9))})
    spectra = references_at(refs, stack["energy"])
    np.testing.assert_array_equal(spectra["energy"], stack["energy"])
    np.testing.assert_allclose(spectra.sel(reference="fine"), np.interp(stack["energy"], E, A))
    np.testing.assert_allclose(spectra.sel(reference="coarse"), np.interp(stack["energy"], coarse, np.sin(coarse / 9)))


def test_references_at__descending_stack_gives_the_same_values(stack, references):
    up = references_at(references, stack["energy"])
    down = references_at(references, stack["energy"][::-1])
    xr.testing.assert_allclose(up, down.sortby("energy"))


def test_references_at__names_all_that_do_not_cover(stack):
    refs = xstxm.reference_set({"a": (E[7:], A[7:]), "b": (E[:-3], B[:-3]), "c": (E, B)})
    with pytest.raises(
        EnergyRangeError,
        match=r"references cover 'a' 512-530 eV, 'b' 505-527 eV, the stack 505-530 eV: "
        r'use sel_energy\("512 eV", "527 eV"\) first',
    ):
        references_at(refs, stack["energy"])


def test_references_at__many_that_do_not_cover_are_counted(stack):
    refs = xstxm.reference_set({f"r{k:02d}": (E[7 if k % 2 else 9 :], A[7 if k % 2 else 9 :]) for k in range(28)})
    with pytest.raises(EnergyRangeError, match=r"'r00', 'r02', 'r04', 'r06' and 10 more 514-530 eV, 'r01'") as refused:
        references_at(refs, stack["energy"])
    assert len(str(refused.value)) < 250


def test_references_at__nothing_in_common(stack):
    refs = xstxm.reference_set({"a": (E + 200, A)})
    with pytest.raises(EnergyRangeError, match="no energy is common to all: check the energy units"):
        references_at(refs, stack["energy"])


def test_references_at__constant_where_the_stack_looks(stack):
    wide = np.linspace(400, 600, 201)
    refs = xstxm.reference_set({"a": (wide, np.where(wide < 560, 1.0, 2.0))})
    with pytest.raises(ReferenceSpectrumError, match="'a' are constant over energy"):
        references_at(refs, stack["energy"])


def test_references_at__zero_where_the_stack_looks(stack):
    wide = np.linspace(400, 600, 201)
    refs = xstxm.reference_set({"a": (wide, np.where(wide < 560, 0.0, 2.0)), "b": (wide, wide)})
    with pytest.raises(ReferenceSpectrumError, match="'a' are zero at all energies from 505-530 eV: leave them out"):
        references_at(refs, stack["energy"])


def test_reference_set__takes_equal_spectra_that_a_fit_refuses(stack):
    twins = xstxm.reference_set({"a": (E, A), "b": (E, A)})
    with pytest.raises(ReferenceSpectrumError, match="'a' and 'b' cannot be told apart"):
        xstxm.distinguishability(twins, counts=1000)


def test_references_at__names_given_twice(stack, references):
    with pytest.raises(ReferenceSpectrumError, match="names given twice: 'A'"):
        references_at(references.assign_coords(reference=["A", "A", "C"]), stack["energy"])


def test_references_at__not_a_reference_set(stack):
    with pytest.raises(MissingVariableError, match="'absorption' is missing"):
        references_at(stack, stack["energy"])


def test_with_references__replaces_what_was_there(stack, references):
    once = xstxm.with_references(stack, references)
    assert once["reference_spectra"].dims == ("reference", "energy")
    assert list(once["composition"].values) == [0.0, 0.4, 1.0]
    fewer = xstxm.reference_set({"a": (E, A)})
    again = xstxm.with_references(once, fewer)
    assert list(again["reference"].values) == ["a"]
    assert "composition" not in again.coords
    assert "reference_spectra" not in stack


def test_with_references__needs_a_dataset(stack, references):
    with pytest.raises(SchemaError, match="references go into a Dataset"):
        xstxm.with_references(stack["intensity"], references)


def test_reference_set__a_reference_without_a_phase_is_one_by_itself():
    refs = xstxm.reference_set({"a": (E, A), "b": (E, B)}, phase={"a": "alpha"})
    assert list(refs["phase"].values) == ["alpha", "b"]


def test_reference_set__converts_units_of_arrays(spectra):
    row = spectra.sel(reference="A", drop=True).assign_attrs(units="1/um")
    refs = xstxm.reference_set({"A": row}, units="1/nm")
    np.testing.assert_allclose(refs["absorption"].isel(reference=0), row / 1000)
    with pytest.raises(UnitsError, match="reference 'A' is in '1/um', which does not convert to '1'"):
        xstxm.reference_set({"A": row})


def test_reference_set__does_not_bridge_a_gap():
    gap = A.copy()
    gap[5:9] = np.nan
    with pytest.raises(ReferenceSpectrumError, match="'a' has NaN between its data, first at 510 eV"):
        xstxm.reference_set({"a": (E, gap)})


def test_with_references__keeps_what_it_did_not_write(stack, references):
    truth = references["absorption"].isel(energy=0, drop=True).rename("truth")
    held = xstxm.with_references(stack.assign(truth=truth), references)
    assert "truth" in held
    with pytest.raises(SchemaError, match="'truth' have other references than these"):
        xstxm.with_references(held, xstxm.reference_set({"a": (E, A)}))


def test_with_references__single_image_has_no_constant_references(stack, references):
    one = xstxm.with_references(stack.isel(energy=[20]), references)
    assert one["reference_spectra"].shape == (3, 1)


def test_references_at__needs_a_dataset(stack, spectra):
    with pytest.raises(SchemaError, match="the references are a DataArray"):
        references_at(spectra, stack["energy"])


def test_references__with_infinite_values_or_units_of_something_else(stack, references):
    infinite = A.copy()
    infinite[3] = np.inf
    with pytest.raises(ReferenceSpectrumError, match="'a' holds infinite values"):
        xstxm.reference_set({"a": (E, infinite)})
    with pytest.raises(ReferenceSpectrumError, match="'A' hold infinite values"):
        references_at(references.where(references["absorption"] < 1, np.inf).sel(reference=["A"]), stack["energy"])
    with pytest.raises(UnitsError, match="references are in '1'"):
        xstxm.reference_set({"a": (E, A)}, units="eV")
    with pytest.raises(UnitsError, match="references are in '1'"):
        references_at(references.assign(absorption=references["absorption"].assign_attrs(units="kg")), stack["energy"])


def test_reference_set__takes_a_mapping_only():
    with pytest.raises(ReferenceSpectrumError, match="found: a list"):
        xstxm.reference_set([("a", (E, A)), ("a", (E, B))])


# kinds


def test_reference_set__keeps_kinds():
    refs = xstxm.reference_set({"a": (E, A), "b": (E, B)}, kind={"b": "raw"})
    assert refs["kind"].values.tolist() == ["", "raw"]
    refs = xstxm.reference_set({"a": (E, A), "b": (E, B)}, kind="linear_absorption", units="1/um")
    assert refs["kind"].values.tolist() == ["linear_absorption"] * 2


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        pytest.param("od", ChoiceError, "unknown kind 'od'", id="no kind"),
        pytest.param("linear_absorption", OptionError, "it is in '1/nm', the set in '1'", id="of another unit"),
        pytest.param({"c": "raw"}, ReferenceSpectrumError, "not references: 'c'", id="of no reference"),
    ],
)
def test_reference_set__refuses_kinds(kind, error, message):
    with pytest.raises(error, match=message):
        xstxm.reference_set({"a": (E, A)}, kind=kind)


def test_fit__of_several_kinds_warns(stack):
    kinds = {"a": "raw", "b": "normalized_absorption"}
    refs = xstxm.reference_set({"a": (E, A), "b": (E, B)}, kind=kinds)
    density = xstxm.optical_density(stack)
    with pytest.warns(MetadataWarning, match="several kinds .'a' is raw, 'b' is normalized_absorption."):
        maps = xstxm.fit(density, refs)
    assert maps["kind"].values.tolist() == list(kinds.values())
    xstxm.fit(density, refs.sel(reference=refs["kind"] == "raw"))  # as the warning says, and without one


def test_fit__of_one_kind_and_unknown_ones_does_not_warn(stack):
    refs = xstxm.reference_set({"a": (E, A), "b": (E, B)}, kind={"a": "raw"})
    xstxm.fit(xstxm.optical_density(stack), refs)


# internal references

REGIONS = {"left": {"x": (0.1, 0.2)}, "right": {"x": (0.3, 0.4), "y": (0, 0.1)}}


@pytest.fixture
def counted(stack):
    return xstxm.optical_density(xstxm.with_variance(stack))


def test_internal_references__are_means_with_errors_from_counts(counted):
    refs = xstxm.internal_references(counted, REGIONS, composition={"left": 0, "right": 1})
    xstxm.testing.assert_conforms(refs, "internal_references")
    for name, region in REGIONS.items():
        mean = xstxm.spectrum(counted, region)
        of_name = refs.sel(reference=name)
        np.testing.assert_array_equal(of_name["absorption"], mean["spectrum"])
        np.testing.assert_allclose(of_name["absorption_stderr"], mean["spectrum_variance"] ** 0.5, rtol=1e-6)
    assert refs["composition"].values.tolist() == [0, 1]
    assert refs["kind"].values.tolist() == ["optical_density"] * 2
    assert refs["source"].values[1] == "optical_density of a test, {'x': [0.3, 0.4], 'y': [0, 0.1]}, 9 pixels"


def test_internal_references__without_a_variance_have_errors_from_the_spread(density):
    stack = density.to_dataset().isel(y=[0, 1, 2, 3, 4, 5])
    refs = xstxm.internal_references(stack, {"grain": {"x": (0.1, 0.2)}, "pixel": {"x": 0.3, "y": 0.1}})
    pixels = stack["optical_density"].sel(x=slice(0.09, 0.21)).stack(pixel=("y", "x"))
    expected = pixels.std("pixel", ddof=1) / pixels.sizes["pixel"] ** 0.5
    np.testing.assert_allclose(refs["absorption_stderr"].sel(reference="grain"), expected)
    assert refs["absorption_stderr"].sel(reference="pixel").isnull().all()
    assert "from the spread over each region" in refs.attrs["history"]


def test_internal_references__of_particles_have_their_numbers(counted):
    image = xr.zeros_like(counted["optical_density"][0], dtype=int).drop_vars("energy").rename("particle_label")
    image[2:4, 3:5], image[0, 6:9] = 7, 2
    refs = xstxm.internal_references(counted.assign_attrs(source_file="a.hdr"), image)
    assert refs["reference"].values.tolist() == ["particle 2", "particle 7"]
    for k, number in enumerate((2, 7)):
        mean = xstxm.spectrum(counted, image == number)
        np.testing.assert_allclose(refs["absorption"][k], mean["spectrum"], rtol=1e-6)
        np.testing.assert_allclose(refs["absorption_stderr"][k], mean["spectrum_variance"] ** 0.5, rtol=1e-6)
    assert refs["source"].values[1] == "optical_density of a.hdr, particle 7, 4 pixels"
    assert xstxm.internal_references(counted, image.rename(None))["reference"].values[0] == "region 2"


@pytest.mark.parametrize(
    "chunks", [{}, {"energy": 5}, {"y": 2, "x": 4}], ids=["one block", "frames", "blocks of pixels"]
)
def test_internal_references__of_an_image_are_those_of_its_masks(counted, chunks):
    label = xr.zeros_like(counted["optical_density"][0], dtype=int).drop_vars("energy").rename("particle_label")
    label[1:4, 1:5], label[0, 6:9], label[5, 0] = 7, 2, 3
    density = counted["optical_density"].where((counted["x"] != counted["x"][2]) | (counted["energy"] > 515))
    variance = counted["optical_density_variance"].where(counted["x"] != counted["x"][8])
    for stack in (
        counted.assign(optical_density=density),
        counted.assign(optical_density_variance=variance),
        counted.drop_vars("optical_density_variance"),
    ):
        with raise_if_dask_computes(max_computes=1):
            found = xstxm.internal_references(stack.chunk(chunks), label)
        for number in (2, 3, 7):
            of_mask = xstxm.internal_references(stack, {f"particle {number}": label == number})
            for name in ("absorption", "absorption_stderr"):
                np.testing.assert_allclose(
                    found[name].sel(reference=f"particle {number}"), of_mask[name][0], rtol=1e-5, atol=1e-7
                )


def test_internal_references__of_a_descending_stack_in_kev(counted):
    turned = counted.isel(energy=slice(None, None, -1))
    turned = turned.assign_coords(energy=("energy", turned["energy"].values / 1000, {"units": "keV"}))
    found, expected = (xstxm.internal_references(item, REGIONS) for item in (turned, counted))
    np.testing.assert_allclose(found["energy"], expected["energy"])
    np.testing.assert_array_equal(found["absorption"], expected["absorption"])
    np.testing.assert_array_equal(found["absorption_stderr"], expected["absorption_stderr"])


def test_internal_references__compute_a_lazy_stack_once(counted):
    with raise_if_dask_computes(max_computes=1):
        found = xstxm.internal_references(counted.chunk(energy=5), REGIONS)
    np.testing.assert_allclose(found["absorption"], xstxm.internal_references(counted, REGIONS)["absorption"])


def test_internal_references__fit_the_stack_they_are_from(counted):
    maps = xstxm.fit(counted["optical_density"], counted.stxm.internal_references(REGIONS))
    assert maps["component_map"].sizes["reference"] == 2


@pytest.mark.parametrize(
    ("regions", "error", "message"),
    [
        pytest.param({}, OptionError, "give {'name': region", id="none"),
        pytest.param({"x": (0, 0.1)}, OptionError, "give {'name': region", id="a box without a name"),
        pytest.param(xr.DataArray([True]), OptionError, "give {'name': region", id="a mask without a name"),
        pytest.param({"a": {"x": (7, 8)}}, OptionError, "it holds no pixel", id="outside"),
        pytest.param(xr.DataArray(np.zeros((6, 9), int), dims=("y", "x")), OptionError, "no number in it", id="zeros"),
    ],
)
def test_internal_references__refuse(counted, regions, error, message):
    with pytest.raises(error, match=message):
        xstxm.internal_references(counted, regions)


def test_internal_references__are_of_an_absorption(counted):
    with pytest.raises(IncompatibleUnitsError, match="count"):
        xstxm.internal_references(counted, REGIONS, signal="intensity")


def test_internal_references__of_measured_particles_look_like_the_spectra_measured_apart(real_data):
    folder = real_data / "fe-l-edge-stack"
    stack = xstxm.open_stack(folder / "71214078.hdr")
    density = xstxm.optical_density(stack, xstxm.read_i0(folder / "i0.xsp", units="count/ms"))
    grains = np.zeros((125, 125), dtype=int)
    grains[0:10, 5:20], grains[5:40, 105:125] = 1, 2
    internal = xstxm.internal_references(density, xr.DataArray(grains, dims=("y", "x")))
    apart = xstxm.read_references({name: folder / f"{name}.t" for name in ("reduced", "oxidized")})
    alike = np.corrcoef(internal["absorption"], apart["absorption"])[:2, 2:]
    assert (np.diag(alike) > 0.97).all()
    assert (alike[[0, 1], [1, 0]] < 0.85).all()
    assert internal["source"].values[0] == "optical_density of 71214078.hdr, region 1, 150 pixels"


def test_other_things_than_spectra__are_refused_with_what_to_pass():
    spectrum = xr.DataArray([1.0, 2.0, 3.0], coords={"energy": [515.0, 518.0, 521.0]}, name="spectrum")
    with pytest.raises(ReferenceSpectrumError, match=r"found: a DataArray\): pass \{'name'"):
        xstxm.reference_set(spectrum.expand_dims(cluster=[0, 1]))
    with pytest.raises(ReferenceSpectrumError, match=r"'a' is a Dataset: pass an array along energy"):
        xstxm.reference_set({"a": spectrum.to_dataset()})
