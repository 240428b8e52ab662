"""The script that reproduces what is on the page, from the state alone."""

from __future__ import annotations

from stxm_explorer.state import ExplorerState, Recipe, Region, reference_files

WIDTH = 76
"""Characters after which a call takes a line for each argument."""


def script(state: ExplorerState) -> str:
    """Return a Python script; its paths are relative to the root folder."""
    recipe = state.recipe
    if not recipe.file:
        return "# Choose a stack first: the script that reproduces the page appears here."
    blocks = [
        '"""Reproduces what the explorer shows; run it in the folder that it serves."""\n\nimport xstxm\nfrom xstxm import plot',
        _stack(recipe),
        _references(recipe),
        _phases(recipe),
        _region(state.region, recipe),
        _image(state),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _call(function: str, *arguments: str, **options: object) -> str:
    parts = [*arguments, *(f"{name}={value!r}" for name, value in options.items())]
    line = f"{function}({', '.join(parts)})"
    return line if len(line) < WIDTH else f"{function}(\n    " + ",\n    ".join(parts) + ",\n)"


def _stack(recipe: Recipe) -> str:
    lines = [f"stack = {_call('xstxm.open_stack', repr(recipe.file))}"]
    if recipe.i0_source == "brightest":
        lines.append(f"i0 = {_call('xstxm.estimate_i0', 'stack', fraction=recipe.i0_fraction)}")
    elif not recipe.i0_file:
        return "\n".join([*lines, "stack = xstxm.optical_density(stack)  # no file of I0 is chosen yet"])
    else:
        units = {"units": recipe.i0_units} if recipe.i0_units else {}
        lines.append(f"i0 = {_call('xstxm.read_i0', repr(recipe.i0_file), **units)}")
    return "\n".join([*lines, "stack = xstxm.optical_density(stack, i0)"])


def _references(recipe: Recipe) -> str:
    if not recipe.references:
        return ""
    source = repr(recipe.references[0] if len(recipe.references) == 1 else reference_files(recipe.references))
    options = {"composition": recipe.compositions} if recipe.compositions else {}
    return f"references = {_call('xstxm.read_references', source, **options)}"


def _phases(recipe: Recipe) -> str:
    known = ["references"] if recipe.references else []
    options = {"method": recipe.method, "background": recipe.background} if known else {}
    call = _call("xstxm.phase_map", "stack", *known, **options, min_confidence=recipe.min_confidence)
    return "\n".join(
        [
            f"phases = {call}.compute()",
            "print(xstxm.phase_summary(phases))",
            'plot.save_maps(phases, "maps", overwrite=True)',
        ]
    )


def _region(region: Region | None, recipe: Recipe) -> str:
    if region is None:
        return ""
    lines = [f"spectrum = {_call('xstxm.spectrum', 'stack', repr(region.for_xstxm()))}"]
    if not recipe.references:
        return "\n".join([*lines, 'plot.save(plot.spectra(spectrum), "spectrum.png", overwrite=True)'])
    call = _call("xstxm.fit", 'spectrum["spectrum"]', "references", method=recipe.method, background=recipe.background)
    return "\n".join(
        [*lines, f"fit = {call}", 'plot.save(plot.spectra(spectrum, fit=fit), "spectrum.png", overwrite=True)']
    )


def _image(state: ExplorerState) -> str:
    if state.energy is None:
        return ""
    return f'plot.save({_call("plot.image", "stack", repr(state.energy), signal=state.signal)}, "image.png", overwrite=True)'
