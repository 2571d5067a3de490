"""Rules that read gains: is there one, who pays for it, and what the noise leaves of it."""

from collections.abc import Iterator

from training.comparing.choosing import simplest_of_the_best, ties
from training.comparing.findings import Advice, Bias, Comparison, ContenderFindings
from training.comparing.gains import TaskGain, headlines
from training.comparing.spread import difference
from training.comparing.wording import count, error_of, listed, plus_minus

__all__ = [
    "DURATION_BIAS",
    "EVENT_BIAS",
    "FEW_SEEDS",
    "SMALL_TEST",
    "architecture",
    "bias",
    "few_seeds",
    "seesaw",
    "small_test",
    "static_weights",
    "task_loses",
]

FEW_SEEDS = 3
SMALL_TEST = 100
DURATION_BIAS = 0.05
EVENT_BIAS = 0.10


def few_seeds(comparison: Comparison) -> Iterator[Advice]:
    """Fewer than :data:`FEW_SEEDS` seeds tell little from noise."""
    seeds = len(comparison.seeds)
    if seeds < FEW_SEEDS:
        yield Advice(
            rule="few_seeds",
            text=f"These numbers stand on {count(seeds, 'seed')}; run at least {FEW_SEEDS} before deciding by them.",
            evidence={"seeds": seeds},
        )


def small_test(comparison: Comparison) -> Iterator[Advice]:
    """Fewer than :data:`SMALL_TEST` test rows of a label's rarer side: the split is noise that no seed shows."""
    small = {task: rows for task, rows in comparison.smallest_side.items() if rows < SMALL_TEST}
    if small:
        told = listed([f"{task} {rows}" for task, rows in small.items()])
        yield Advice(
            rule="small_test",
            text=(
                f"The test split has few rows of a kind ({told}; fewer than {SMALL_TEST}): another split would give "
                "other numbers, and no spread over seeds shows that. Use more rows."
            ),
            evidence={f"{task}.rows": rows for task, rows in small.items()},
        )


def architecture(comparison: Comparison) -> Iterator[Advice]:
    """Take the simplest of those that are within one standard error of the best mean gain."""
    chosen = simplest_of_the_best(comparison)
    if chosen is None or chosen.mean_gain is None:
        return
    gain, networks = chosen.mean_gain, comparison.reference.networks
    evidence = {"mean_gain_percent": gain.gain.value, **error_of(gain.gain.standard_error)}
    measured = f"{gain.gain.value:+.2f} %{plus_minus(gain.gain.standard_error)}, mean over tasks"
    if gain.gain.standard_error is None:
        text = f"One seed cannot tell architectures apart; {chosen.name}, the simplest, stands at {measured}."
    elif gain.gain.verdict == "loss":
        text = (
            f"No architecture that shares reaches single-task networks of its size; {chosen.name}, the simplest of the "
            f"best, stands at {measured}. Where {networks} networks can be served, take `single_task`."
        )
    elif gain.gain.verdict == "gain":
        text = f"Take {chosen.name}: {measured}, against single-task networks of the same size.{ties(comparison)}"
    else:
        text = (
            f"{chosen.name} is as good as single-task networks of the same size ({measured}: no difference) and "
            f"serves one network instead of {networks}.{ties(comparison)}"
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
            cure = f"it does not lose with {listed(spared)}"
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
        told = {side: listed([f"{g.task} {g.gain_percent:+.2f} %" for g in found]) for side, found in sides.items()}
        yield Advice(
            rule="seesaw",
            text=f"{each.name} is a seesaw: {told['gain']}, but {told['loss']}. Judge it task by task.",
            evidence={f"{g.task}.gain_percent": g.gain_percent for found in sides.values() for g in found},
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
    measured = f"{ahead.value:+.2f} %{plus_minus(ahead.standard_error)} against equal weights"
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
            told = listed([f"{name} {found.off.mean:+.1%}" for name, found in off.items()])
            cure = "choose another `--debias`" if kind == "duration" else "fit a calibration, or train longer"
            yield Advice(
                rule="bias",
                text=f"Totals of {task} are off by more than {limit:.0%} ({told}): {cure} before they are fused.",
                evidence={f"{name}.off": found.off.mean for name, found in off.items()},
            )


def _headline(each: ContenderFindings, task: str) -> TaskGain | None:
    return next((gain for gain in headlines(each.gains) if gain.task == task), None)


def _off(each: ContenderFindings, task: str, limit: float) -> Bias | None:
    found = next((bias for bias in each.bias if bias.task == task), None)
    if found is None:
        return None
    error = found.off.standard_error if found.off.seeds > 1 else 0.0
    return found if abs(found.off.mean) - error > limit else None
