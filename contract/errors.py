"""Everything the contract refuses, as one tree with stable codes.

::

    ContractError
    ├── EncodingError      a request or a row does not fit the feature schema
    ├── FormulaError       a fusion formula cannot be compiled
    ├── ScoreError         a fusion gave a score that is not finite, and its policy says fail
    ├── ManifestError      a manifest cannot be read or contradicts itself
    └── BundleError        files of a bundle are missing, changed or unreadable
"""

from typing import ClassVar

__all__ = ["BundleError", "ContractError", "EncodingError", "FormulaError", "ManifestError", "ScoreError"]


class ContractError(Exception):
    """Base of the contract's errors.

    Args:
        detail: One sentence: what is wrong.
        fix: One sentence: how to mend it.
        path: Where, as a JSON pointer into the caller's document; "" where it has no place.
    """

    code: ClassVar[str] = "contract_error"

    def __init__(self, detail: str, *, fix: str = "", path: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.fix = fix
        self.path = path


class EncodingError(ContractError):
    """A value does not fit the field it was given for."""

    code = "invalid_feature"


class FormulaError(ContractError):
    """A fusion formula does not compile."""

    code = "invalid_formula"


class ScoreError(ContractError):
    """A fused score is not finite under a profile that says to fail."""

    code = "score_not_finite"


class ManifestError(ContractError):
    """A manifest cannot be read."""

    code = "invalid_manifest"


class BundleError(ContractError):
    """A bundle on disk cannot be used."""

    code = "invalid_bundle"
