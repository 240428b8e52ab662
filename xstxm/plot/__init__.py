"""Drawings with HoloViews: labelled arrays in, plots out, no science.

HoloViews is imported when the first plot is drawn, with its Bokeh and Matplotlib backends; every
function returns a HoloViews object that both can draw.
"""

from xstxm.plot._accessor import StxmPlotAccessor, StxmTreePlotAccessor
from xstxm.plot._classes import phase_colors
from xstxm.plot._confusion import confusion
from xstxm.plot._decomposition import clusters, component_maps, scree
from xstxm.plot._distinguishability import distinguishability
from xstxm.plot._export import save, save_maps
from xstxm.plot._fields import fields
from xstxm.plot._images import ImageColors, image, image_colors
from xstxm.plot._labels import label, pretty_units
from xstxm.plot._lengths import autocovariance, coarse_graining, two_point
from xstxm.plot._maps import composition, phase_map
from xstxm.plot._particles import particles, profiles
from xstxm.plot._shifts import shifts
from xstxm.plot._spectra import spectra
from xstxm.plot._styles import NEUTRAL, UNDECIDED_COLOR
from xstxm.plot._time import time_series, trajectories
from xstxm.plot._variances import variance_split

__all__ = [
    "NEUTRAL",
    "UNDECIDED_COLOR",
    "ImageColors",
    "StxmPlotAccessor",
    "StxmTreePlotAccessor",
    "autocovariance",
    "clusters",
    "coarse_graining",
    "component_maps",
    "composition",
    "confusion",
    "distinguishability",
    "fields",
    "image",
    "image_colors",
    "label",
    "particles",
    "phase_colors",
    "phase_map",
    "pretty_units",
    "profiles",
    "save",
    "save_maps",
    "scree",
    "shifts",
    "spectra",
    "time_series",
    "trajectories",
    "two_point",
    "variance_split",
]
