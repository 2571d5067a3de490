"""Advice that follows from a comparison: one rule a function, its threshold beside it, its numbers in the sentence.

A rule reads nothing but the report's own numbers, and calls nothing a difference that is within one standard error.
``docs/how-to/choose-an-architecture.md`` lists every rule with its threshold.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from training.comparing.findings import Advice, Bias, Comparison, ContenderFindings
from training.comparing.gains import MeanGain, TaskGain, headlines
from training.comparing.spread import Spread, difference

__all__ = ["RULES", "advise", "simplest_of_the_best"]

FEW_SEEDS = 3
ONE_GATE_CORRELATION = 0.8
CONFLICT_COSINE = -0.1
POLARISED_ENTROPY = 0.2
IDLE_ENTROPY = 0.98
IDLE_DISTANCE = 0.02
DURATION_BIAS = 0.05
EVENT_BIAS = 0.10
FUNNEL_DEFINED = 0.5
_SIMPLEST_FIRST = ("shared_bottom", "omoe", "mmoe", "cgc", "ple")
_ONE_GATE = ("shared_bottom", "omoe")

Rule = Callable[[Comparison], Iterable[Advice]]


def advise(comparison: Comparison) -> tuple[Advice, ...]:
    """Give the advice of every rule, in their order."""
    return tuple(advice for rule in RULES.values() for advice in rule(comparison))


def few_seeds(comparison: Comparison) -> Iterator[Advice]:
    """Fewer than :data:`FEW_SEEDS` seeds tell little from noise."""
    seeds = len(comparison.seeds)
    if seeds < FEW_SEEDS:
        yield Advice(
            rule="few_seeds",
            text=f"These numbers stand on {_count(seeds, 'seed')}; run at least {FEW_SEEDS} before deciding by them.",
            evidence={"seeds": seeds},
        )


def architecture(comparison: Comparison) -> Iterator[Advice]:
    """Take the simplest of those that are within one standard error of the best mean gain."""
    chosen = simplest_of_the_best(comparison)
    if chosen is None or chosen.mean_gain is None:
        return
    gain, networks = chosen.mean_gain, comparison.reference.networks
    evidence = {"mean_gain_percent": gain.gain.value, **_error(gain.gain.standard_error)}
    measured = f"{gain.gain.value:+.2f} %{_plus_minus(gain.gain.standard_error)}, mean over tasks"
    if gain.gain.verdict == "loss":
        text = (
            f"No architecture that shares reaches single-task networks of its size; the best, {chosen.name}, "
            f"stands at {measured}. Where {networks} networks can be served, take `single_task`."
        )
    elif gain.gain.verdict == "gain":
        text = f"Take {chosen.name}: {measured}, against single-task networks of the same size.{_ties(comparison)}"
    else:
        text = (
            f"{chosen.name} is as good as single-task networks of the same size ({measured}: no difference) and "
            f"serves one network instead of {networks}.{_ties(comparison)}"
        )
    yield Advice(rule="architecture", text=text, evidence=evidence)


def task_loses(comparison: Comparison) -> Iterator[Advice]:
    """A task that loses under sharing wants PLE or a network of its own."""
    for task in comparison.kinds:
        by_name = {each.name: gain for each in comparison.sharing if (gain := _headline(each, task)) is not None}
        losing = {name: gain for name, gain in by_name.items() if gain.gain.verdict == "loss"}
        if not losing:
            continue
        spared = [name for name in by_name if name not in losing]
        worst = min(losing, key=lambda name: losing[name].gain_percent)
        lost = f"{losing[worst].title} {losing[worst].gain_percent:+.2f} % with {worst}"
        tried_ple = any(each.architecture == "ple" for each in comparison.sharing)
        if not spared and tried_ple:
            cure = "it loses with every one that was tried, PLE too: give it a network of its own (`single_task`)"
        elif not spared:
            cure = "it loses with every one that was tried: compare `ple`, or give it a network of its own"
        else:
            cure = f"it does not lose with {_listed(spared)}"
        yield Advice(
            rule="task_loses",
            text=f"{task} loses by sharing ({lost}); {cure}.",
            evidence={f"{name}.gain_percent": gain.gain_percent for name, gain in losing.items()},
        )


def seesaw(comparison: Comparison) -> Iterator[Advice]:
    """One task gains what another loses."""
    for each in comparison.sharing:
        if not each.is_seesaw:
            continue
        sides = {side: [g for g in headlines(each.gains) if g.gain.verdict == side] for side in ("gain", "loss")}
        told = {side: _listed([f"{g.task} {g.gain_percent:+.2f} %" for g in found]) for side, found in sides.items()}
        yield Advice(
            rule="seesaw",
            text=f"{each.name} is a seesaw: {told['gain']}, but {told['loss']}. Judge it task by task.",
            evidence={f"{g.task}.gain_percent": g.gain_percent for found in sides.values() for g in found},
        )


def one_gate(comparison: Comparison) -> Iterator[Advice]:
    """Labels that correlate at :data:`ONE_GATE_CORRELATION` or more need no gate each, unless gates did better."""
    found = [pair.pearson for pair in comparison.relations]
    strengths = [abs(each) for each in found if each is not None]
    if not strengths or len(strengths) < len(found) or min(strengths) < ONE_GATE_CORRELATION:
        return
    single = [each for each in comparison.sharing if each.architecture in _ONE_GATE]
    others = [each for each in comparison.sharing if each.architecture not in _ONE_GATE]
    if not single or any(_is_ahead(other, _best(single)) for other in others):
        return
    yield Advice(
        rule="one_gate",
        text=(
            f"All labels correlate at {min(strengths):.2f} or more (threshold {ONE_GATE_CORRELATION}), and nothing "
            f"with a gate a task is ahead of {_best(single).name}: one gate, or none, is enough."
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
                    f"{each.name} has {_count(dead, 'dead expert')} ({seeds} of {_count(len(counts), 'seed')}): lower "
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
            told = _listed([f"{task} at {share:.2f}" for task, share in settled.items()])
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
                        f"{CONFLICT_COSINE}): try `--balancer pcgrad`, or an architecture with experts of each "
                        "task's own, and compare with tuned static weights."
                    ),
                    evidence={"mean_cosine": cosine},
                )


def static_weights(comparison: Comparison) -> Iterator[Advice]:
    """Weights that were searched for are worth setting only where they beat equal ones on seeds of their own."""
    search = comparison.weight_search
    if search is None:
        return
    equal = next(e for e in comparison.sharing if e.architecture == search.architecture and not e.weights)
    tuned = next((e for e in comparison.sharing if e.architecture == search.architecture and e.weights), None)
    if search.keeps_equal_weights or tuned is None or tuned.mean_gain is None or equal.mean_gain is None:
        yield Advice(
            rule="static_weights",
            text=f"Leave the tasks' weights equal: none of {len(search.trials)} settings did better on validation.",
            evidence={"trials": len(search.trials)},
        )
        return
    ahead = difference(tuned.mean_gain.percent, equal.mean_gain.percent, higher_is_better=True)
    flags = " ".join(f"--task-weight {task}={weight:.2g}" for task, weight in search.found.items())
    measured = f"{ahead.value:+.2f} %{_plus_minus(ahead.standard_error)} against equal weights"
    text = {
        "gain": f"Weigh the tasks: `{flags}` gives {measured}. A balancer has to beat that.",
        "loss": f"Leave the tasks' weights equal: the best on validation, `{flags}`, gives {measured} on test.",
        "no difference": f"Leave the tasks' weights equal: `{flags}` gives {measured}, no difference.",
    }[ahead.verdict]
    yield Advice(rule="static_weights", text=text, evidence={"gain_percent": ahead.value})


def bias(comparison: Comparison) -> Iterator[Advice]:
    """Totals that are off by more than a threshold, and by more than noise, want debiasing or calibration."""
    for task, kind in comparison.kinds.items():
        limit = DURATION_BIAS if kind == "duration" else EVENT_BIAS
        off = {each.name: found for each in comparison.sharing if (found := _off(each, task, limit)) is not None}
        if off:
            told = _listed([f"{name} {found.off.mean:+.1%}" for name, found in off.items()])
            cure = "choose another `--debias`" if kind == "duration" else "fit a calibration, or train longer"
            yield Advice(
                rule="bias",
                text=f"Totals of {task} are off by more than {limit:.0%} ({told}): {cure} before they are fused.",
                evidence={f"{name}.off": found.off.mean for name, found in off.items()},
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


RULES: dict[str, Rule] = {
    "few_seeds": few_seeds,
    "architecture": architecture,
    "task_loses": task_loses,
    "seesaw": seesaw,
    "one_gate": one_gate,
    "dead_experts": dead_experts,
    "polarised_gates": polarised_gates,
    "idle_gates": idle_gates,
    "gradient_conflict": gradient_conflict,
    "static_weights": static_weights,
    "bias": bias,
    "funnel": funnel,
}


def simplest_of_the_best(comparison: Comparison) -> ContenderFindings | None:
    """Give the simplest contender that the best one is not ahead of; None where nothing was compared."""
    level = _level_with_the_best(comparison)
    return min(level, key=_complexity) if level else None


def _level_with_the_best(comparison: Comparison) -> list[ContenderFindings]:
    compared = [each for each in comparison.sharing if each.mean_gain is not None]
    if not compared:
        return []
    best = _best(compared)
    return [each for each in compared if not _is_ahead(best, each)]


def _complexity(each: ContenderFindings) -> tuple[int, bool]:
    known = each.architecture in _SIMPLEST_FIRST
    place = _SIMPLEST_FIRST.index(each.architecture) if known else len(_SIMPLEST_FIRST)
    return place, bool(each.weights)


def _best(contenders: Iterable[ContenderFindings]) -> ContenderFindings:
    return max(contenders, key=lambda each: _mean(each).percent.mean)


def _mean(each: ContenderFindings) -> MeanGain:
    nothing = Spread(mean=0.0, std=0.0, seeds=1)
    return each.mean_gain or MeanGain(percent=nothing, gain=difference(nothing, nothing, higher_is_better=True))


def _is_ahead(one: ContenderFindings, other: ContenderFindings) -> bool:
    return difference(_mean(one).percent, _mean(other).percent, higher_is_better=True).verdict == "gain"


def _ties(comparison: Comparison) -> str:
    chosen = simplest_of_the_best(comparison)
    level = [each.name for each in _level_with_the_best(comparison) if each is not chosen]
    if not level:
        return ""
    are = "is" if len(level) == 1 else "are"
    return f" {_listed(level)} {are} within one standard error of the best: take the simplest."


def _headline(each: ContenderFindings, task: str) -> TaskGain | None:
    return next((gain for gain in headlines(each.gains) if gain.task == task), None)


def _off(each: ContenderFindings, task: str, limit: float) -> Bias | None:
    found = next((bias for bias in each.bias if bias.task == task), None)
    if found is None:
        return None
    error = found.off.standard_error if found.off.seeds > 1 else 0.0
    return found if abs(found.off.mean) - error > limit else None


def _gate_distance(each: ContenderFindings) -> float | None:
    """Give the largest total variation between the mean weights of two tasks' gates over the same experts."""
    weights = [gate.mean_weights for gate in each.gates]
    if any(gate.keys() != weights[0].keys() for gate in weights):
        return None
    table = np.array([list(gate.values()) for gate in weights])
    return float(0.5 * np.abs(table[:, None] - table[None]).sum(axis=2).max())


def _error(standard_error: float | None) -> dict[str, float]:
    return {} if standard_error is None else {"standard_error": standard_error}


def _plus_minus(standard_error: float | None) -> str:
    return "" if standard_error is None else f" ± {standard_error:.2f}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
