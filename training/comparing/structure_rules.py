"""Rules that look inside: relations of labels, gates, experts, gradients."""

from collections.abc import Iterator

import numpy as np

from training.comparing.choosing import ONE_GATE, best_of, compared, is_ahead
from training.comparing.findings import Advice, Comparison, ContenderFindings
from training.comparing.wording import count, listed

__all__ = [
    "CONFLICT_COSINE",
    "FUNNEL_DEFINED",
    "IDLE_DISTANCE",
    "IDLE_ENTROPY",
    "ONE_GATE_CORRELATION",
    "POLARISED_ENTROPY",
    "dead_experts",
    "funnel",
    "gradient_conflict",
    "idle_gates",
    "one_gate",
    "polarised_gates",
]

ONE_GATE_CORRELATION = 0.8
CONFLICT_COSINE = -0.1
POLARISED_ENTROPY = 0.2
IDLE_ENTROPY = 0.98
IDLE_DISTANCE = 0.02
FUNNEL_DEFINED = 0.5


def one_gate(comparison: Comparison) -> Iterator[Advice]:
    """Labels that correlate at :data:`ONE_GATE_CORRELATION` or more need no gate each, unless gates did better."""
    found = [pair.pearson for pair in comparison.relations]
    strengths = [abs(each) for each in found if each is not None]
    if not strengths or len(strengths) < len(found) or min(strengths) < ONE_GATE_CORRELATION:
        return
    single = [each for each in compared(comparison.sharing) if each.architecture in ONE_GATE]
    others = [each for each in compared(comparison.sharing) if each.architecture not in ONE_GATE]
    if not single or any(is_ahead(other, best_of(single)) for other in others):
        return
    yield Advice(
        rule="one_gate",
        text=(
            f"All labels correlate at {min(strengths):.2f} or more (threshold {ONE_GATE_CORRELATION}), and nothing "
            f"with a gate a task is ahead of {best_of(single).name}: one gate, or none, is enough."
        ),
        evidence={"smallest_correlation": min(strengths)},
    )


def dead_experts(comparison: Comparison) -> Iterator[Advice]:
    """Experts that no task uses, in most seeds, are weights to save or gates to loosen."""
    for each in comparison.sharing:
        counts = [len(names) for names in each.dead_experts]
        if counts and np.median(counts) >= 1:
            dead, seeds = int(np.median(counts)), sum(count > 0 for count in counts)
            yield Advice(
                rule="dead_experts",
                text=(
                    f"{each.name} has {count(dead, 'dead expert')} ({seeds} of {count(len(counts), 'seed')}): lower "
                    f"`num_experts` by {dead}, or keep them alive with the option `gate_dropout`."
                ),
                evidence={"dead_experts": dead, "seeds_with_dead_experts": seeds},
            )


def polarised_gates(comparison: Comparison) -> Iterator[Advice]:
    """A gate below :data:`POLARISED_ENTROPY` of its greatest entropy has settled on one expert."""
    for each in comparison.sharing:
        settled = {gate.task: gate.entropy_share.mean for gate in each.gates}
        settled = {task: share for task, share in settled.items() if share < POLARISED_ENTROPY}
        if settled:
            told = listed([f"{task} at {share:.2f}" for task, share in settled.items()])
            yield Advice(
                rule="polarised_gates",
                text=(
                    f"Gates of {each.name} settled on one expert (entropy share of {told}, threshold "
                    f"{POLARISED_ENTROPY}): try the option `gate_dropout` at 0.1, or a `temperature` above 1."
                ),
                evidence={f"{task}.entropy_share": share for task, share in settled.items()},
            )


def idle_gates(comparison: Comparison) -> Iterator[Advice]:
    """Gates that average all experts alike for all tasks choose nothing."""
    for each in comparison.sharing:
        shares = [gate.entropy_share.mean for gate in each.gates]
        if len(shares) < 2 or min(shares) <= IDLE_ENTROPY:
            continue
        distance = _gate_distance(each)
        if distance is not None and distance < IDLE_DISTANCE:
            yield Advice(
                rule="idle_gates",
                text=(
                    f"Gates of {each.name} average all experts alike for every task (entropy share {min(shares):.3f} "
                    f"and more, gates {distance:.3f} apart): `shared_bottom` would do the same."
                ),
                evidence={"entropy_share": min(shares), "gate_distance": distance},
            )


def gradient_conflict(comparison: Comparison) -> Iterator[Advice]:
    """Gradients whose mean cosine is below :data:`CONFLICT_COSINE` undo each other's steps."""
    for each in comparison.sharing:
        for pair, epochs in each.cosines.items():
            cosine = float(np.mean([epoch.mean for epoch in epochs]))
            if cosine < CONFLICT_COSINE:
                yield Advice(
                    rule="gradient_conflict",
                    text=(
                        f"Gradients of {pair} pull apart in {each.name} (mean cosine {cosine:.2f}, threshold "
                        f"{CONFLICT_COSINE}): try `--balancer pcgrad` and, where the tasks have none, experts of "
                        "their own; tuned static weights are what to compare with."
                    ),
                    evidence={"mean_cosine": cosine},
                )


def funnel(comparison: Comparison) -> Iterator[Advice]:
    """A label that few rows have, because another must happen first, can be learnt over all rows."""
    for label in comparison.labels:
        if label.given is not None and label.kind == "binary" and label.defined < FUNNEL_DEFINED:
            yield Advice(
                rule="funnel",
                text=(
                    f"{label.name} is defined on {label.defined:.1%} of the rows, those with {label.given}: "
                    "`esmm` and `escm2` learn it over all rows, free of that selection."
                ),
                evidence={"defined": label.defined},
            )


def _gate_distance(each: ContenderFindings) -> float | None:
    """Give the largest total variation between the mean weights of two tasks' gates over the same experts."""
    weights = [gate.mean_weights for gate in each.gates]
    if any(gate.keys() != weights[0].keys() for gate in weights):
        return None
    table = np.array([list(gate.values()) for gate in weights])
    return float(0.5 * np.abs(table[:, None] - table[None]).sum(axis=2).max())
