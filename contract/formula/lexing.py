"""The first wall: only numbers, names and the language's own signs reach Python's parser.

Strings, brackets, dots, colons and backslashes are refused here, so that nothing which could become an attribute, an
index, an f-string, a lambda or an escape is ever parsed. Comments and line ends become spaces: what is parsed
has as many characters as what was written, and positions stay true.
"""

import re
import unicodedata

from contract.errors import FormulaError
from contract.formula.grammar import MAX_DEPTH, MAX_LENGTH
from contract.formula.refusals import refused, too_deep

__all__ = ["plain_line"]

_TOKEN = re.compile(
    r"""(?P<number>(?:[0-9][0-9_]*\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
      | (?P<name>[^\W\d]\w*)
      | (?P<sign>\*\*|[<>=!]=|[-+*/<>(),])
      | (?P<space>[ \t\r\n]+)
      | (?P<comment>\#[^\n]*)""",
    re.VERBOSE,
)
_HINTS = {
    ".": "names have no attributes; write log(x), not x.log()",
    "=": "write == to compare; a formula assigns nothing",
    "^": "write ** for a power",
    "%": "write a fraction, for example 0.05",
    "&": "multiply two comparisons where both must hold",
    "|": "take max of two comparisons where one must hold",
    "'": "compare numbers; there is no text",
    '"': "compare numbers; there is no text",
}


def plain_line(text: str) -> str:
    """Give a formula as one line of the same length, comments blanked.

    Raises:
        FormulaError: When it is too long, or has a character, a number or a nesting that the language does not know.
    """
    if len(text) > MAX_LENGTH:
        raise FormulaError(
            f"the formula has {len(text)} characters", fix=f"shorten it to {MAX_LENGTH}", path="/formula"
        )
    parts: list[str] = []
    position = depth = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise _unknown(text[position], position + 1)
        _check(token)
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if depth > MAX_DEPTH:
            raise too_deep(position + 1)
        is_blank = token.lastgroup in ("space", "comment")
        parts.append(" " * len(token[0]) if is_blank else token[0])
        position = token.end()
    return "".join(parts)


def _check(token: re.Match[str]) -> None:
    if token.lastgroup == "number":
        after = token.string[token.end() : token.end() + 1]
        if after == "_" or after.isalnum() or after == ".":
            raise refused(
                token.start() + 1,
                f"{token[0] + after!r} is not the beginning of a number",
                fix="write decimal numbers, and * where you multiply: 2 * ctr",
            )
    # Python's parser reads look-alike letters as the plain ones, so two spellings would be one name.
    if token.lastgroup == "name" and unicodedata.normalize("NFKC", token[0]) != token[0]:
        what = f"{token[0]!r} has letters that only look like others"
        raise refused(token.start() + 1, what, fix="use plain letters")


def _unknown(character: str, position: int) -> FormulaError:
    what = f"the character {character!r} is not part of the formula language"
    return refused(position, what, fix=_HINTS[character]) if character in _HINTS else refused(position, what)
