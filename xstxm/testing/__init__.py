"""Synthetic data with known answers, and checks of results: for tests, examples and teaching.

Everything made here is synthetic and says so in its attributes. Nothing was measured.
"""

from xstxm.testing._conforms import assert_conforms
from xstxm.testing._expected import expected_block_variance, tree_truth
from xstxm.testing._references import simulate_references
from xstxm.testing._stack import simulate_stack
from xstxm.testing._transmission import simulate_phase_references, simulate_transmission
from xstxm.testing._tree import Instrument, simulate_tree

__all__ = [
    "Instrument",
    "assert_conforms",
    "expected_block_variance",
    "simulate_phase_references",
    "simulate_references",
    "simulate_stack",
    "simulate_transmission",
    "simulate_tree",
    "tree_truth",
]
