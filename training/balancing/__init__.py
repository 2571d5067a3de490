"""How several losses become one step: weights on losses, or combinations of their gradients.

Importing this package fills the registry.
"""

from training.balancing import (
    aligned_mtl,
    cagrad,
    dwa,
    famo,
    gls,
    gradnorm,
    gradvac,
    imtl_g,
    magnitude,
    mgda,
    nash_mtl,
    pcgrad,
    rlw,
    static,
    uncertainty,
    upgrad,
)

__all__ = [
    "aligned_mtl",
    "cagrad",
    "dwa",
    "famo",
    "gls",
    "gradnorm",
    "gradvac",
    "imtl_g",
    "magnitude",
    "mgda",
    "nash_mtl",
    "pcgrad",
    "rlw",
    "static",
    "uncertainty",
    "upgrad",
]
