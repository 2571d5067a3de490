"""A formula ready to score candidates."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.formula.folding import fold
from contract.formula.functions import FUNCTIONS
from contract.formula.grammar import Call, Node, Variable, walk
from contract.formula.listwise import Values, over_lists
from contract.formula.parsing import parse
from contract.formula.quiet import quiet
from contract.formula.refusals import refused
from contract.formula.running import OverList, Step, no_list, runner_of

__all__ = ["Formula", "compile_formula"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Formula:
    """A compiled formula.

    Args:
        text: As written.
        tree: Its meaning, constants not yet folded.
        variables: The names that it reads, weights included.
        step: What runs.
        is_listwise: Whether a candidate's score may depend on the other candidates of its request.
    """

    text: str
    tree: Node
    variables: frozenset[str]
    step: Step
    is_listwise: bool

    def __call__(self, values: Mapping[str, Any], size: int, lists: NDArray[np.int64] | None = None) -> Values:
        """Score *size* candidates of one request, or of several laid end to end.

        Args:
            values: Variable name to an array ``[size]`` or one number; names that are not read are passed over.
            size: Number of candidates, of all requests together.
            lists: Int64 ``[R + 1]``: where each request's candidates begin, and *size* at the end. None where all
                are of one request. Listwise functions work within each request.

        Returns:
            Float64 ``[size]``, the caller's own.

        Raises:
            ValueError: When *lists* does not part the candidates.
        """
        over_list = _over_lists_of(size, lists) if self.is_listwise else no_list
        scores = quiet().run(self.step, values, over_list)
        if scores.ndim and len(scores) == size:
            return scores  # type: ignore[no-any-return]
        return np.broadcast_to(scores, (size,)).copy()


def compile_formula(text: str, known: Collection[str]) -> Formula:
    """Compile a formula.

    Args:
        text: One expression, over as many lines as you like; ``#`` begins a comment.
        known: The names that it may read.

    Raises:
        FormulaError: With the position, what is wrong and what was probably meant.
    """
    tree = parse(text, known)
    folded = fold(tree)
    variables = frozenset(node.name for node in walk(tree) if isinstance(node, Variable))
    if not variables:
        raise refused(1, "the formula reads no head and no field, so every candidate scores the same", fix=_READ)
    return Formula(
        text=text,
        tree=tree,
        variables=variables,
        step=runner_of(folded),
        is_listwise=any(isinstance(node, Call) and FUNCTIONS[node.name].is_listwise for node in walk(folded)),
    )


def _over_lists_of(size: int, lists: NDArray[np.int64] | None) -> OverList:
    if lists is not None and (len(lists) == 0 or lists[0] != 0 or lists[-1] != size or np.any(np.diff(lists) < 0)):
        msg = f"lists must grow from 0 to the {size} candidates"
        raise ValueError(msg)
    return lambda call, value: over_lists(call.name, value, size, lists)


_READ = "read at least one, for example `ctr * log1p(duration_seconds)`"
