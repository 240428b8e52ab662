"""Pictures in files."""

from __future__ import annotations

import functools
import uuid
from pathlib import Path
from typing import Any

import xarray as xr

from xstxm.errors import MissingDependencyError, OptionError, require_free
from xstxm.plot._holoviews import holoviews
from xstxm.plot._images import draw, image
from xstxm.plot._maps import composition, phase_map
from xstxm.plot._spectra import spectra

_SUFFIXES = (".png", ".svg", ".pdf", ".html")


def save(plot: Any, path: str | Path, *, dpi: int = 150, overwrite: bool = False) -> Path:
    """Write a drawing or a map as a picture, with Matplotlib, or as a page to zoom in, with Bokeh; no display needed.

    Parameters
    ----------
    plot
        What a function of `xstxm.plot` returned; or a map (y, x), which is drawn as `xstxm.plot.image` does: its colours, a
        colour bar with the unit, and a scale bar.
    path
        File ending in ``.png``, ``.svg`` or ``.pdf``, or in ``.html``, a page that needs no network. Of a drawing with a
        slider, its first frame.
    dpi
        Dots per inch of a PNG.
    overwrite
        Replace a file that is there.

    Returns
    -------
    Path
        The file, there as a whole or not at all. Eager.

    Raises
    ------
    FileExistsError
        There is such a file, and `overwrite` is off.
    OptionError
        Another ending, or neither a drawing nor a map.
    MissingDependencyError
        HoloViews or Matplotlib is not installed.

    Examples
    --------
    >>> import tempfile, xstxm
    >>> plot = xstxm.plot.spectra(xstxm.testing.simulate_references())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     xstxm.plot.save(plot, f"{folder}/references.png").name
    'references.png'
    >>> density = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> white_line = density.optical_density.sel(energy=518.4, method="nearest")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     xstxm.plot.save(white_line, f"{folder}/white line.png").name
    'white line.png'
    """
    path = Path(path).expanduser()
    if path.suffix.lower() not in _SUFFIXES:
        raise OptionError("path", path.name, f"pictures end in {', '.join(_SUFFIXES)}")
    require_free([path], overwrite)
    hv = holoviews()
    if isinstance(plot, xr.DataArray):
        plot = image(plot)
    if not isinstance(plot, hv.core.Dimensioned):
        raise OptionError("plot", type(plot).__name__, "give what xstxm.plot drew, or a map (y, x)")
    write = _write_page if path.suffix.lower() == ".html" else functools.partial(_write_picture, dpi=dpi)
    if isinstance(plot, hv.DynamicMap):
        plot = plot[plot.kdims[0].values[0]] if plot.kdims else plot[()]
    temporary = path.with_name(f".{path.stem}-{uuid.uuid4().hex}{path.suffix}")
    try:
        write(plot, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _write_picture(plot: Any, path: Path, *, dpi: int) -> None:
    hv = holoviews()
    if "matplotlib" not in hv.Store.loaded_backends():
        raise MissingDependencyError("writing pictures", "matplotlib", "plot")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = hv.renderer("matplotlib").get_plot(plot).state
    FigureCanvasAgg(figure)
    try:
        figure.savefig(path, dpi=dpi, bbox_inches="tight", facecolor="white")
    finally:
        figure.clear()


def _write_page(plot: Any, path: Path) -> None:
    from bokeh.core.validation import silence
    from bokeh.core.validation.warnings import FIXED_SIZING_MODE
    from bokeh.embed import file_html
    from bokeh.resources import INLINE

    figure = holoviews().renderer("bokeh").get_plot(plot).state
    silence(FIXED_SIZING_MODE)  # HoloViews fixes the frame and leaves the size around it to Bokeh
    try:
        path.write_text(file_html(figure, INLINE, title="xstxm"), encoding="utf-8")
    finally:
        silence(FIXED_SIZING_MODE, False)


def save_maps(phases: xr.Dataset, folder: str | Path, *, dpi: int = 150, overwrite: bool = False) -> list[Path]:
    """Write the pictures of a phase map: phases, confidence, composition, and spectra of the phases.

    Parameters
    ----------
    phases
        A result of `xstxm.phase_map`.
    folder
        Where to; made if it is not there.
    dpi
        Dots per inch.
    overwrite
        Replace pictures that are there.

    Returns
    -------
    list of Path
        The PNG files. Eager.

    Raises
    ------
    FileExistsError
        One of them is there, and `overwrite` is off; then none is written.
    MissingVariableError
        `phases` is no phase map.
    MissingDependencyError
        HoloViews or Matplotlib is not installed.

    Examples
    --------
    >>> import tempfile, xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> phases = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in xstxm.plot.save_maps(phases, folder)]
    ['phase_map.png', 'confidence.png', 'phase_spectra.png', 'composition.png']
    """
    folder = Path(folder).expanduser()
    plots = {"phase_map": phase_map(phases)}
    if "confidence" in phases:
        plots["confidence"] = draw(phases["confidence"].compute(), cmap="cividis", clim=(0, 1))
    if "phase_spectra" in phases:
        plots["phase_spectra"] = spectra(phases)
    if "composition" in phases:
        plots["composition"] = composition(phases)
    paths = {folder / f"{name}.png": plot for name, plot in plots.items()}
    require_free([*paths], overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    return [save(plot, path, dpi=dpi, overwrite=overwrite) for path, plot in paths.items()]
