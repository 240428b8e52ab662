"""How spectra are explained by the references."""

from __future__ import annotations

from typing import Any

import param

from stxm_explorer.settings import Settings

METHODS = {"Non-negative (nnls)": "nnls", "Fractions sum to 1 (fcls)": "fcls", "Unconstrained (lstsq)": "lstsq"}
BACKGROUNDS = {"None": "none", "Constant": "constant", "Linear": "linear"}
SELECTIONS = {"All references": "", "As many as the BIC asks for": "bic", "As many as an F-test asks for": "f-test"}
PHASES_FROM = {"Reference spectra": "references", "Clusters of page Unmix": "clusters"}


class Fit(Settings):
    """How spectra are explained by the references."""

    source: Any = param.Selector(
        default="references",
        objects=list(PHASES_FROM.values()),
        doc="What the phases are. Clusters stand in where there are no references.",
    )
    method: Any = param.Selector(
        default="nnls",
        objects=list(METHODS.values()),
        doc="Amounts of zero or more; amounts that add up to one, for references as thick as the sample; or any amounts.",
    )
    background: Any = param.Selector(
        default="constant",
        objects=list(BACKGROUNDS.values()),
        doc="What is fitted beside the references: other matter whose absorption hardly changes over the energies.",
    )
    selection: Any = param.Selector(
        default="",
        objects=list(SELECTIONS.values()),
        doc="Keep in each pixel only the references that the data ask for; fractions of the others become zero.",
    )
    max_optical_density = param.Number(
        None,
        bounds=(0, None),
        allow_None=True,
        doc="Energies at which a pixel is darker than this are left out of its fit.",
    )
    min_amount = param.Number(
        0.0, bounds=(0, None), doc="Amount below which a pixel holds no sample; 0 finds it from the map."
    )
    min_confidence = param.Number(
        0.95, bounds=(0.5, 0.999), step=0.01, doc="Probability below which a pixel is undecided."
    )
