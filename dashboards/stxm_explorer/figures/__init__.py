"""Figures that stay in the page: maps and curves whose data change and whose axes, tools and legends do not."""

from stxm_explorer.figures.clouds import CloudFigure
from stxm_explorer.figures.curves import Curve, CurveFigure
from stxm_explorer.figures.histograms import histogram
from stxm_explorer.figures.maps import MapFigure
from stxm_explorer.figures.ranges import MapRanges
from stxm_explorer.figures.strips import StripFigure

__all__ = ["CloudFigure", "Curve", "CurveFigure", "MapFigure", "MapRanges", "StripFigure", "histogram"]
