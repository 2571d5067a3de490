"""Arithmetic without NumPy's warnings of what IEEE 754 defines."""

from contextvars import Context

import numpy as np

__all__ = ["quiet"]

_QUIET = Context()
_QUIET.run(np.seterr, all="ignore")

quiet = _QUIET.copy
"""Gives a context for one run: ``quiet().run(function, …)``.

Entering ``numpy.errstate`` costs as much as a logarithm of 500 numbers; a context's copy costs next to nothing.
"""
