"""X-ray spectromicroscopy stacks to quantitative phase and composition maps."""

import lazy_loader

from xstxm import _registered as _registered

__version__ = "0.1.0"

# a name is imported from the module that __init__.pyi says when it is first used
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
