"""PLE (progressive layered extraction): levels of CGC, each reading what the one before mixed.

H. Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model for Personalized
Recommendations", RecSys 2020, section 4.2. https://doi.org/10.1145/3383313.3412236

Equations, j the level, x_k^0 = x_s^0 = [u; c]::

    S_k^j = [own experts of k (x_k^{j-1}) ; shared experts (x_s^{j-1})]
    S_s^j = [own experts of every task ; shared experts]          all of the level, not the shared ones alone
    x_k^j = softmax(W_k^j x_k^{j-1}) · S_k^j
    x_s^j = softmax(W_s^j x_s^{j-1}) · S_s^j                      but in the last level, where nothing reads it
    z_k   = t_k(x_k^L)

So the gates of a level are chosen by the level before, not by the raw input. Each expert is an MLP of the widths
``hidden`` in every level. One level is CGC exactly.

Shapes as in :mod:`training.models.extraction`.

Parameters: those of CGC; a level more adds ``T·M + S`` experts and ``T·(M + S)`` gate rows of ``H + 1`` inputs, and
all but the last level have ``T·M + S`` rows of the shared gate.
"""

from pydantic import Field

from training.models.base import ModelConfig
from training.models.cgc import Cgc
from training.models.extraction import ExtractionOptions
from training.models.registry import register

__all__ = ["Ple", "PleOptions"]


class PleOptions(ExtractionOptions):
    """Options of PLE.

    Args:
        levels: Levels of experts; the paper uses two, and one is CGC.
    """

    levels: int = Field(default=2, ge=1)


@register("ple", title="PLE (Tang et al., RecSys 2020)", link="https://doi.org/10.1145/3383313.3412236")
class Ple(Cgc):
    """Progressive layered extraction."""

    Options = PleOptions

    def num_levels(self, config: ModelConfig) -> int:
        """Give the number of levels."""
        return PleOptions.model_validate(config.options).levels
