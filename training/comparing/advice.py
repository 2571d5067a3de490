"""Advice that follows from a comparison: one rule a function, its threshold beside it, its numbers in the sentence.

A rule reads nothing but the report's own numbers, and calls nothing a difference that is within one standard error.
``docs/how-to/choose-an-architecture.md`` lists every rule with its threshold.
"""

from collections.abc import Callable, Iterable

from training.comparing import gain_rules, structure_rules
from training.comparing.findings import Advice, Comparison

__all__ = ["RULES", "advise"]

Rule = Callable[[Comparison], Iterable[Advice]]

RULES: dict[str, Rule] = {
    "few_seeds": gain_rules.few_seeds,
    "small_test": gain_rules.small_test,
    "architecture": gain_rules.architecture,
    "task_loses": gain_rules.task_loses,
    "seesaw": gain_rules.seesaw,
    "static_weights": gain_rules.static_weights,
    "one_gate": structure_rules.one_gate,
    "dead_experts": structure_rules.dead_experts,
    "polarised_gates": structure_rules.polarised_gates,
    "idle_gates": structure_rules.idle_gates,
    "gradient_conflict": structure_rules.gradient_conflict,
    "bias": gain_rules.bias,
    "funnel": structure_rules.funnel,
}


def advise(comparison: Comparison) -> tuple[Advice, ...]:
    """Give the advice of every rule, in their order."""
    return tuple(advice for rule in RULES.values() for advice in rule(comparison))
