"""Synthetic data with known answers, and checks of results: for tests, examples and teaching.

Everything made here is synthetic and says so in its attributes. Nothing was measured.
"""

from xstxm.testing._conforms import assert_conforms
from xstxm.testing._references import simulate_references
from xstxm.testing._stack import simulate_stack

__all__ = ["assert_conforms", "simulate_references", "simulate_stack"]
