"""Fuzz the formula language: every text either runs or is a FormulaError, quickly, and nothing of it is evaluated.

    python -m tests.fuzz.fuzz_formula --seconds 600
    python -m tests.fuzz.fuzz_formula --inputs 2000 --seed 7

Texts come from a grammar, from a corpus of attacks, and from mutations of both. An audit hook sees every execution of
code, import, opened file and started process while a text is at work. What is slow is measured in this process's
CPU time, so that other work on the machine does not count.
"""

import argparse
import faulthandler
import random
import sys
import time
import warnings
from collections import Counter

import numpy as np

from contract.errors import FormulaError
from contract.formula import FUNCTIONS, check_units, compile_formula, parse, unparse

LIMIT_S = 0.1
ALLOWANCE = 5  # a garbage collection or a page fault may fall into any text
HANG_S = 60
KNOWN = ("ctr", "like", "duration_seconds", "log_duration", "price", "w1", "x")
UNITS = {"ctr": "probability", "like": "probability", "duration_seconds": "seconds", "log_duration": "log_seconds"}
COLUMNS = {name: np.array([0.5, -1.0, np.nan, np.inf, 0.0, 2.0]) for name in KNOWN[:-2]} | {"w1": 2.0, "x": -0.5}
SIZE, LISTS = 6, np.array([0, 2, 2, 5, 6])
ATTACKS = (
    "__import__('os').system('true')", "().__class__.__bases__[0].__subclasses__()", "ctr.__class__", "f'{ctr!r:>{x}}'",
    "(x := ctr)", "[x for x in ctr]", "{x: x for x in ctr}", "(lambda: ctr)()", "exec('1')", "eval('1')", "open('/x')",
    "ctr if x else like", "ctr and x or like", "not ctr", "ctr in x", "log(*ctr)", "log(**ctr)", "log(x=ctr)",
    "9**9**9**9", "pow(9, pow(9, 9)) * ctr", "1e999", "0x" + "f" * 900, "1_0_0", "1j", "'" * 3, '"""', "\\N{BULLET}",
    "ctr\0", "\ufeffctr", "ｃｔｒ", "c\u200btr", "ctr\u2028", "٣", "²", "\ud800", "ctr\udfff", "−1", "ﬁ", "İ", "ctr #",
    "\f ctr", "\x0bctr", "\x1actr", "ctr\\\n", "async", "await ctr", "yield", "...", "ctr[...]", "ctr[0:1:2]", "@ctr",
    "ctr: int", "ctr = 1", "ctr += 1", "import os", "print(ctr)", "type(ctr)", "__builtins__", "__debug__", "{ctr}",
    "a" * 10_000, "(" * 199 + ")" * 199, "(" * 5_000, "-" * 1_999 + "x", "ctr" + "**x" * 600, "log(" * 300,
    "ctr" + "<x" * 400,
    "ctr" + "+x" * 900, "log(" * 49 + "x x" + ")" * 49, "(" * 49 + "x for" + ")" * 49, "ctr," * 400, "log(ctr," * 40,
)  # fmt: skip
PIECES = (
    *KNOWN, *FUNCTIONS, "0", "1", "2.5", ".5", "1e308", "1e-320", "9" * 400, "1_000", "(", ")", "(", ")", ",", "+", "-",
    "*", "/", "**", "<", "<=", ">", ">=", "==", "!=", " ", "\n", "\t", "#", "//", "%", ".", "[", "]", "{", "}", ":",
    ":=", "=", ";", "#\n", "'",
    '"', "\\", "@", "~", "^", "&", "|", "`", "?", "$", "!", "if", "else", "for", "in", "is", "and", "or", "not",
    "lambda", "await", "yield", "None", "True", "f'", "b'", "é", "名", "\0", "\ud800", "\u202e", "𝐱", "__class__",
)  # fmt: skip
_FORBIDDEN = (
    "exec",
    "import",
    "open",
    "os.",
    "subprocess.",
    "socket.",
    "ctypes.",
    "shutil.",
    "code.",
    "marshal.",
    "pickle.",
)


def say(line):
    """Write a line of the report."""
    sys.stdout.write(line + "\n")


class Audit:
    """Notes what Python does while a text is at work; parsing raises `compile`, which runs nothing."""

    def __init__(self):
        self.is_on = False
        self.seen = Counter()

    def __call__(self, event, arguments):
        if self.is_on and event.startswith(_FORBIDDEN):
            self.seen[event] += 1


def grown(rng, depth=0):
    """Give a text of the grammar."""
    if depth > 6 or rng.random() < 0.25:
        return rng.choice((*KNOWN, *KNOWN, "0", "1", "2.5", "1e-3", "30"))

    def inner():
        return grown(rng, depth + 1)

    shape = rng.randrange(6)
    if shape < 2:
        return f"{inner()} {rng.choice('+-*/')} {inner()}"
    if shape == 2:
        return f"({inner()} {rng.choice(('**', '<', '<=', '>', '>=', '==', '!='))} {inner()})"
    if shape == 3:
        return f"{rng.choice('-+')}{inner()}"
    name = rng.choice(list(FUNCTIONS))
    function = FUNCTIONS[name]
    return f"{name}({', '.join(inner() for _ in range(rng.randint(function.fewest, min(function.most, 4))))})"


def mutated(rng, text, pool):
    """Give a text with a few cuts, insertions, repetitions and splices."""
    for _ in range(rng.randint(1, 4)):
        start = rng.randint(0, len(text))
        end = min(len(text), start + rng.randint(0, 12))
        change = rng.randrange(6)
        if change == 0:
            text = text[:start] + text[end:]
        elif change == 1:
            text = text[:start] + rng.choice(PIECES) + text[start:]
        elif change == 2:
            text = text[:start] + text[start:end] * rng.randint(2, 300) + text[end:]
        elif change == 3:
            text = text[:start] + chr(rng.randrange(0x110000)) + text[end:]
        elif change == 4:
            other = rng.choice(pool)
            text = text[:start] + other[rng.randint(0, len(other)) :]
        else:
            opening = rng.choice(("(", "-", "log(", "min(x, ", "x ** ", "(x < "))
            times = rng.randint(1, 60)
            text = opening * times + text + ")" * (times * opening.count("("))
    return text[:10_000]


def drawn(rng, pool):
    """Give the next text; the pool of texts to mutate grows with what compiled."""
    kind = rng.random()
    if kind < 0.25:
        return grown(rng)
    if kind < 0.4:
        return "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 40)))
    return mutated(rng, rng.choice(pool), pool)


def at_work(text):
    """Compile a text and use it; tells whether it is a formula. Anything but a FormulaError is a failure."""
    try:
        formula = compile_formula(text, KNOWN)
    except FormulaError as error:
        assert error.detail
        assert error.fix
        assert error.path == "/formula"
        return False
    for lists in (None, LISTS):
        scores = formula(COLUMNS, SIZE, lists)
        assert scores.shape == (SIZE,)
        assert scores.dtype == np.float64
    for warning in check_units(formula, UNITS):
        assert 1 <= warning.position <= len(text)
    written = unparse(formula.tree)
    assert parse(written) == formula.tree if len(written) <= 2_000 else True
    return True


def evaluated(text):
    """Do what must never happen to a text; the canary."""
    return exec("1") is None  # noqa: S102


def fuzz(rng, *, seconds, inputs, audit):
    """Run texts until either bound; gives how many, how many were formulas, and the slowest."""
    pool = [*ATTACKS, *(grown(rng) for _ in range(200))]
    accepted = done = 0
    slowest = (0.0, "")
    end = time.monotonic() + seconds
    while done < inputs and time.monotonic() < end:
        text = drawn(rng, pool)
        if done % 100 == 0:
            faulthandler.dump_traceback_later(HANG_S, exit=True)
        begun = time.process_time()
        audit.is_on = True
        try:
            is_formula = at_work(text)
        except Exception as error:
            audit.is_on = False
            say(f"{type(error).__name__} ({error}) over {text!r}")
            raise SystemExit(1) from error
        audit.is_on = False
        slowest = max(slowest, (time.process_time() - begun, text))
        if audit.seen:
            say(f"evaluated: {dict(audit.seen)} over {text!r}")
            raise SystemExit(1)
        accepted += is_formula
        done += 1
        if is_formula and rng.random() < 0.05:
            pool[rng.randrange(len(ATTACKS), len(pool))] = text
    return done, accepted, slowest


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--inputs", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--canary", action="store_true", help="evaluate something on purpose; must be noticed")
    options = parser.parse_args()
    warnings.simplefilter("error")  # a warning of Python's parser is a leak to the operator's log
    for text in ATTACKS:  # what is imported on first use is imported now
        at_work(text)
    audit = Audit()
    sys.addaudithook(audit)
    if options.canary:
        globals()["at_work"] = evaluated
    rng = random.Random(options.seed)
    done, accepted, (slowest_s, text) = fuzz(rng, seconds=options.seconds, inputs=options.inputs, audit=audit)
    say(f"{done:,} inputs, {accepted:,} of them formulas; slowest {slowest_s * 1e3:.1f} ms: {text[:80]!r}")
    if slowest_s > LIMIT_S * ALLOWANCE:
        say(f"slower than {LIMIT_S * ALLOWANCE:.1f} s: {text!r}")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
