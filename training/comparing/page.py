# ruff: noqa: E501 - lines of the page that it writes
"""The report as a page for people: Markdown, with the pictures beside it."""

from collections.abc import Iterable, Sequence

from training.comparing.findings import Comparison, ContenderFindings
from training.comparing.gains import TaskGain
from training.comparing.pictures import GATES, GRADIENTS, LABELS, SEESAW, SELECTED
from training.comparing.spread import Spread

__all__ = ["page"]

_WORDS = {"gain": "gains", "loss": "**loses**", "no difference": "no difference"}


def page(comparison: Comparison, pictures: Iterable[str]) -> str:
    """Write the page.

    Args:
        pictures: File names of those that were drawn.
    """
    drawn = frozenset(pictures)
    sections = (
        _head(comparison),
        _advice(comparison),
        _gains(comparison, drawn),
        _labels(comparison, drawn),
        _gradients(comparison, drawn),
        _gates(comparison, drawn),
        _selected(comparison, drawn),
        _weights(comparison),
        _small_print(comparison),
    )
    return "\n".join(line for section in sections if section for line in (*section, "")).rstrip() + "\n"


def _head(comparison: Comparison) -> list[str]:
    sizes = ", ".join(f"{rows:,} {split}" for split, rows in comparison.rows.items())
    return [
        f"# Which architecture for {comparison.dataset}?",
        "",
        f"Impressions: {sizes}. Each architecture was trained with {len(comparison.seeds)} seeds for at most {comparison.epochs} epochs; numbers are of the test split, mean ± standard deviation over seeds. A difference within one standard error is called no difference.",
    ]


def _advice(comparison: Comparison) -> list[str]:
    lines = ["## Advice", ""]
    lines += [f"- {advice.text}" for advice in comparison.advice]
    return lines if comparison.advice else []


def _gains(comparison: Comparison, drawn: frozenset[str]) -> list[str]:
    reference = comparison.reference
    return [
        "## Gain of each task over single-task networks of the same size",
        "",
        *_picture(SEESAW, "Gain of each task under each architecture", drawn),
        "| architecture | task | metric | with sharing | alone | gain | verdict |",
        "|---|---|---|---|---|---|---|",
        *(_gain_row(each, gain) for each in comparison.sharing for gain in each.gains),
        "",
        "| architecture | mean gain over tasks | seesaw | hidden | dense parameters | epochs | seconds a run |",
        "|---|---|---|---|---|---|---|",
        *(_size_row(each) for each in comparison.contenders),
        "",
        f"Same size: hidden widths were scaled until each network had {comparison.budget:,} dense parameters within 10 %; embedding tables are as wide in all. {reference.name} has a network, and tables, of that size for each of {reference.networks} tasks.",
    ]


def _gain_row(each: ContenderFindings, gain: TaskGain) -> str:
    arrow = "↑" if gain.higher_is_better else "↓"
    error = "" if gain.standard_error_percent is None else f" ± {gain.standard_error_percent:.2f}"
    return (
        f"| {each.name} | {gain.task} | {gain.title} {arrow} | {_spread(gain.value)} | {_spread(gain.alone)} "
        f"| {gain.gain_percent:+.2f}{error} % | {_WORDS[gain.gain.verdict]} |"
    )


def _size_row(each: ContenderFindings) -> str:
    if each.is_reference or each.mean_gain is None:
        mean = "–"
    else:
        error = each.mean_gain.gain.standard_error
        mean = f"{each.mean_gain.gain.value:+.2f}{'' if error is None else f' ± {error:.2f}'} % ({each.mean_gain.gain.verdict})"
    networks = f" × {each.networks}" if each.networks > 1 else ""
    hidden = ", ".join(map(str, each.hidden))
    return f"| {each.name} | {mean} | {'yes' if each.is_seesaw else '–'} | {hidden} | {each.dense_parameters:,}{networks} | {each.epochs.mean:.1f} | {each.seconds.mean:.1f} |"


def _labels(comparison: Comparison, drawn: frozenset[str]) -> list[str]:
    return [
        "## Labels",
        "",
        "| label | kind | rate or mean | defined on | waits for |",
        "|---|---|---|---|---|",
        *(
            f"| {label.name} | {label.kind} | {_number(label.mean)} | {label.defined:.1%} of rows | {label.given or '–'} |"
            for label in comparison.labels
        ),
        "",
        *_picture(LABELS, "Correlation of every pair of labels", drawn),
        *(_relations(comparison) if comparison.relations else ()),
    ]


def _relations(comparison: Comparison) -> list[str]:
    return [
        "On the rows where both are defined; – where one of them is constant there.",
        "",
        "| A | B | rows | Pearson | Spearman | P(A given B) | P(B given A) |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {pair.first} | {pair.second} | {pair.rows:,} | {_number(pair.pearson)} | {_number(pair.spearman)} | {_number(pair.first_given_second)} | {_number(pair.second_given_first)} |"
            for pair in comparison.relations
        ),
    ]


def _gradients(comparison: Comparison, drawn: frozenset[str]) -> list[str]:
    measured = [each for each in comparison.sharing if each.cosines]
    if not measured:
        return []
    return [
        "## Do the tasks' gradients agree?",
        "",
        "Cosine of two tasks' gradients on the dense weights they share: 1 is one direction, 0 is nothing in common, below 0 one undoes the other.",
        "",
        *_picture(GRADIENTS, "Gradient cosine of every pair of tasks by epoch", drawn),
        "| architecture | tasks | first epoch | last epoch |",
        "|---|---|---|---|",
        *(
            f"| {each.name} | {pair} | {_spread(epochs[0], 3)} | {_spread(epochs[-1], 3)} |"
            for each in measured
            for pair, epochs in each.cosines.items()
        ),
    ]


def _gates(comparison: Comparison, drawn: frozenset[str]) -> list[str]:
    gated = [each for each in comparison.sharing if each.gates]
    if not gated:
        return []
    return [
        "## Which experts do the tasks use?",
        "",
        "Entropy share: 1 is a plain mean of the experts, 0 a choice of one. An expert is dead where its mean weight is below 0.01 for every task that may use it. Experts have no order that seeds share, so weights are those of one seed.",
        "",
        *_picture(GATES, "Mean gate weights of each task", drawn),
        "| architecture | task | entropy share | dead experts by seed |",
        "|---|---|---|---|",
        *(
            f"| {each.name} | {gate.task} | {_spread(gate.entropy_share, 3)} | {', '.join(str(len(names)) for names in each.dead_experts)} |"
            for each in gated
            for gate in each.gates
        ),
    ]


def _selected(comparison: Comparison, drawn: frozenset[str]) -> list[str]:
    selecting = [each for each in comparison.sharing if each.selected]
    if not selecting:
        return []
    lines = ["## Which fields do the tasks select?", "", *_picture(SELECTED, "Weight of each field", drawn)]
    for each in selecting:
        tasks = list(each.selected)
        lines += [
            f"| {each.name}: field | {' | '.join(tasks)} |",
            f"|---|{'---|' * len(tasks)}",
            *(
                f"| {field} | {' | '.join(_spread(each.selected[task][field], 2) for task in tasks)} |"
                for field in each.selected[tasks[0]]
            ),
            "",
        ]
    return lines[:-1]


def _weights(comparison: Comparison) -> list[str]:
    search = comparison.weight_search
    if search is None:
        return []
    tasks = list(search.found)
    return [
        "## Static weights of the tasks",
        "",
        f"{search.architecture} was trained once with each of {len(search.trials)} settings, on a seed of its own, judged on validation. The best is marked; it is a row of its own above, on the same seeds as all others, unless it is the equal one.",
        "",
        f"| {' | '.join(tasks)} | mean gain on validation |",
        f"|{'---|' * (len(tasks) + 1)}",
        *(
            f"| {' | '.join(f'{trial.weights[task]:.2f}' for task in tasks)} | {trial.gain_percent:+.2f} %{' ◀' if trial.weights == search.found else ''} |"
            for trial in search.trials
        ),
    ]


def _small_print(comparison: Comparison) -> list[str]:
    return [
        "## How to read this",
        "",
        f"{comparison.created}, {comparison.machine}, commit {comparison.commit}, data {comparison.data_fingerprint[:12]}, seeds {', '.join(map(str, comparison.seeds))}. Written by",
        "",
        f"    {comparison.command}",
        "",
        "The spread is that of initial weights and order of batches alone; another week of data would add its own. The best epoch and static weights were chosen on validation. Whoever picks the best row by this table has chosen on its test split: confirm the choice on later data. All numbers are in `report.json`.",
    ]


def _picture(name: str, title: str, drawn: frozenset[str]) -> Sequence[str]:
    return (f"![{title}]({name})", "") if name in drawn else ()


def _spread(spread: Spread, digits: int = 4) -> str:
    return f"{spread.mean:.{digits}f} ± {spread.std:.{digits}f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if abs(value) >= 10 else f"{value:.3f}"
