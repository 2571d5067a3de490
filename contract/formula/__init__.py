"""The formula language: read once against a whitelist, run vectorised, never evaluated. See docs/reference/formula.md.

Text goes through :mod:`~contract.formula.lexing` and :mod:`~contract.formula.parsing` to a tree
(:mod:`~contract.formula.grammar`), its constants are folded (:mod:`~contract.formula.folding`), and the tree becomes
nested NumPy calls (:mod:`~contract.formula.running`). What becomes of a score that is not finite is the profile's
policy, not the formula's.
"""

from contract.formula.compiled import Formula, compile_formula
from contract.formula.functions import FUNCTIONS
from contract.formula.grammar import MAX_DEPTH, MAX_LENGTH
from contract.formula.parsing import parse
from contract.formula.units import FormulaWarning, check_units
from contract.formula.unparsing import unparse

__all__ = [
    "FUNCTIONS",
    "MAX_DEPTH",
    "MAX_LENGTH",
    "Formula",
    "FormulaWarning",
    "check_units",
    "compile_formula",
    "parse",
    "unparse",
]
