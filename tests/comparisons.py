"""Comparisons made by hand: runs with given numbers, and findings with given gains, for the rules to read."""

from training.comparing.findings import Comparison, ContenderFindings, Gate
from training.comparing.gains import MeanGain, TaskGain
from training.comparing.runs import Run
from training.comparing.spread import Spread, difference
from training.comparing.yardsticks import headline

KINDS = {"ctr": "binary", "duration": "duration"}
ALONE = Spread(mean=1.0, std=0.0, seeds=3)


def run(contender, seed=0, *, validation=None, test=None, balance=(), gates=None, selected=None):
    """One finished run; numbers are task to metric to value."""
    return Run(
        contender=contender,
        seed=seed,
        numbers={"validation": validation or {}, "test": test or {}},
        balance=tuple(balance),
        gates=gates,
        selected=selected or {},
        epochs=max(1, len(balance)),
        seconds=1.0,
    )


def spread(mean, error, seeds=3):
    """A spread whose standard error is *error*."""
    return Spread(mean=mean, std=error * seeds**0.5, seeds=seeds)


def task_gain(task, percent, error=0.1, kind=None):
    """A headline gain over a reference that has no noise."""
    stick = headline(kind or KINDS.get(task, "binary"))
    ours = spread(1.0 + percent / 100, error / 100)
    gain = difference(ours, ALONE, higher_is_better=True)
    return TaskGain(
        task=task,
        metric=stick.metric,
        title=stick.title,
        higher_is_better=stick.higher_is_better,
        value=ours,
        alone=ALONE,
        gain=gain,
        gain_percent=percent,
        standard_error_percent=error,
        seeds_percent=(percent,) * 3,
    )


def gate(task, weights, entropy_share):
    """One task's gate over experts 0, 1, …"""
    return Gate(
        task=task,
        entropy_share=spread(entropy_share, 0.0),
        seed=0,
        mean_weights={f"shared:{i}": weight for i, weight in enumerate(weights)},
    )


def contender(name, gains=None, *, mean=None, error=0.1, seeds=3, **found):
    """A contender with gains by task, percent; their mean is *mean*, or worked out."""
    gains = gains or {}
    mean = mean if mean is not None else sum(gains.values()) / max(1, len(gains))
    percent = spread(mean, error, seeds)
    nothing = Spread(mean=0.0, std=0.0, seeds=seeds)
    given = {
        "name": name,
        "architecture": name.split(" ")[0],
        "is_reference": False,
        "note": "",
        "hidden": (16, 8),
        "dense_parameters": 1_000,
        "networks": 1,
        "weights": {},
        "gains": tuple(task_gain(task, value, error) for task, value in gains.items()),
        "mean_gain": MeanGain(percent=percent, gain=difference(percent, nothing, higher_is_better=True)),
        "is_seesaw": False,
        "cosines": {},
        "gates": (),
        "dead_experts": (),
        "selected": {},
        "bias": (),
        "epochs": Spread(mean=2.0, std=0.0, seeds=seeds),
        "seconds": Spread(mean=1.0, std=0.0, seeds=seeds),
    }
    return ContenderFindings(**{**given, **found})


def comparison(*sharing, **found):
    """A comparison of some contenders, the reference before them."""
    reference = contender("single_task", is_reference=True, networks=2)
    given = {
        "dataset": "made by hand",
        "data_fingerprint": "0" * 64,
        "rows": {"train": 800, "validation": 100, "test": 100},
        "seeds": (0, 1, 2),
        "epochs": 2,
        "created": "2026-01-01",
        "commit": "0" * 12,
        "machine": "a machine",
        "command": "fulcrum report",
        "kinds": KINDS,
        "labels": (),
        "relations": (),
        "smallest_side": {"ctr": 500, "duration": 500},
        "budget": 1_000,
        "contenders": (reference, *sharing),
        "weight_search": None,
    }
    return Comparison(**{**given, **found})
