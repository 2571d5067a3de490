import math

import pytest

from training.benchmarks.serving.figures import OURS, Measured, Overload, Results
from training.benchmarks.serving.page import Report, draw
from training.benchmarks.serving.rows import best_peer, rows_of
from training.benchmarks.serving.run import main

RATES = {"inline fp32": 220.0, "inline int8": 390.0, "by id fp32": 500.0, "by id int8": 900.0}


def measured(side, workload, rate=0.0, p50=10.0, p99=20.0, round_=0, statuses=None):
    return Measured(
        side=side, workload=workload, round=round_, rate=rate, p50_ms=p50, p99_ms=p99, statuses=statuses or {200: 100}
    )


def overload(side=OURS, goodput=95.0, refusal=3.0, told=1.0, statuses=None):
    return Overload(
        side=side, round=0, capacity=100.0, goodput=goodput, refusal_p99_ms=refusal, told_to_wait=told,
        statuses=statuses or {200: 95, 429: 205},
    )  # fmt: skip


def results(*, mixed=None, overloads=None, rates=RATES, bare=(150.0,)):
    closed = [measured(OURS, workload, rate) for workload, rate in rates.items()]
    closed += [measured(OURS, "alone", p50=4.0, p99=9.0)]
    for peer, rate, p50, p99 in (("fastapi", 100.0, 8.0, 30.0), ("mosec", 60.0, 6.0, 40.0)):
        closed += [measured(peer, "naive", rate), measured(peer, "alone", p50=p50, p99=p99)]
    return Results(
        closed=tuple(closed),
        mixed=tuple(mixed or [measured(OURS, "mixed at 70 %")]),
        overload=tuple(overloads or [overload()]),
        bare=bare,
        agreement={"fastapi": 7e-8},
        int8_correlation={"inline int8": 0.999},
    )


def report(given, load=(0.1, 0.2), left_out=None):
    return Report(
        date="2026-11-24", machine="a machine", cores=2, load_average=load, versions={"Python": "3.11"},
        seconds=5.0, rounds=1, left_out=left_out or {}, results=given,
    )  # fmt: skip


def page(given, **about):
    return draw(report(given, **about))


def row(given, begin, rival=None):
    return next(
        each for each in rows_of(given) if each.workload.startswith(begin) and (rival is None or each.rival == rival)
    )


def test_each_rate_stands_beside_the_best_peer_and_its_goal():
    assert best_peer(results()) == "fastapi"
    inline = row(results(), "inline fp32, 8")
    assert (inline.ours, inline.theirs, inline.rival, inline.ratio, inline.met) == (220, 100, "fastapi", 2.2, True)


def test_a_missed_goal_is_said_as_missed():
    given = results()

    assert not row(given, "inline int8").met
    assert "| inline int8, 8 connections | requests/s | 390 | 100 | fastapi | 3.9 | ≥ 4 | **missed** |" in page(given)
    assert "**11 of 12 goals met, 1 missed.**" in page(given)


def test_a_figure_is_the_median_of_its_rounds():
    given = results()
    more = [measured(OURS, "inline fp32", rate, round_=k) for k, rate in ((1, 10.0), (2, 900.0))]

    assert row(given.model_copy(update={"closed": (*given.closed, *more)}), "inline fp32, 8").ours == 220


def test_one_request_alone_is_set_against_the_fastest_peer_of_each_quantile():
    assert [(row(results(), f"inline fp32, one connection, {q}").rival) for q in ("p50", "p99")] == ["mosec", "fastapi"]


@pytest.mark.parametrize(
    ("run", "missed"),
    [
        (overload(goodput=89.0), "goodput"),
        (overload(refusal=5.1), "p99 of refusals"),
        (overload(told=0.99), "refusals with Retry-After"),
        (overload(refusal=None, told=None), "refusals with Retry-After"),
        (overload(statuses={200: 95, 429: 200, 0: 1}), "time-outs and broken"),
        (overload(statuses={200: 95, 429: 200, -1: 1}), "time-outs and broken"),
    ],
)
def test_overload_is_missed_by_a_single_broken_promise(run, missed):
    assert row(results(), f"by id fp32, 3× overload, {missed}").met
    assert not row(results(overloads=[run]), f"by id fp32, 3× overload, {missed}").met


def test_a_small_spread_counts_for_nothing_when_requests_were_refused():
    refusing = [measured(OURS, "mixed at 70 %", statuses={200: 90, 429: 10})]

    assert row(results(), "by id fp32, 50").met
    assert not row(results(mixed=refusing), "by id fp32, 50").met
    assert "(90.0% answered)" in page(results(mixed=refusing))


def test_a_busy_machine_and_the_peers_left_out_are_said():
    busy = page(results(), load=(8.0, 9.0), left_out={"pytriton": "pip failed: no such wheel"})

    assert "Others were working on it" in busy
    assert "- pytriton: pip failed: no such wheel" in busy
    assert "Others were working on it" not in page(results())


def test_the_page_can_be_drawn_again_from_the_figures_beside_it_even_where_nothing_was_answered(tmp_path):
    silent = [measured(OURS, "mixed at 70 %", p50=math.inf, p99=math.inf, statuses={0: 5})]
    of_run = report(results(mixed=silent))
    (tmp_path / "serving.json").write_text(of_run.model_dump_json())

    main(tmp_path / "serving.md", redraw=True)

    assert (tmp_path / "serving.md").read_text() == draw(of_run)
    assert "(0.0% answered) | p99 / p50 | – | – | – | – | ≤ 2.5 | **missed** |" in draw(of_run)


def test_requests_that_a_closed_loop_did_not_get_answered_are_said():
    given = results()
    refusing = measured(OURS, "inline fp32", 220.0, round_=1, statuses={200: 400, 429: 100})

    assert "another status: fulcrum 0.0%, fastapi 0.0%, mosec 0.0%." in page(given)
    assert "another status: fulcrum 10.0%, " in page(given.model_copy(update={"closed": (*given.closed, refusing)}))
