"""The pages: each shows results and changes the state, none computes."""

from stxm_explorer.pages.data import Data
from stxm_explorer.pages.explore import Explore
from stxm_explorer.pages.export import Export
from stxm_explorer.pages.phases import Phases
from stxm_explorer.pages.prepare import Prepare
from stxm_explorer.pages.scales import Scales
from stxm_explorer.pages.unmix import Unmix
from stxm_explorer.views import Page

PAGES: dict[str, type[Page]] = {page.title: page for page in (Data, Prepare, Explore, Unmix, Phases, Scales, Export)}
"""By title, in the order of the work."""
