"""What the programs that run a model's source have in common, as text: they are whole programs of their own.

What each of them does with the source, and what it says of it, is its own module's business.
"""

AS_MODULE = """
import sys
import types
def as_module(name, file):
    module = types.ModuleType(name)
    module.__file__ = file
    sys.modules[name] = module
    return module.__dict__
"""
"""Makes the empty module in which a source runs: dataclasses and pickle look its classes up there."""
