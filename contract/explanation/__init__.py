"""Why a result scores what it does, and what would move it: see :func:`explain`."""

from contract.explanation.explain import Explanation, explain
from contract.explanation.moves import Moves
from contract.explanation.parts import Parts

__all__ = ["Explanation", "Moves", "Parts", "explain"]
