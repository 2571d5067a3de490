"""The base of all documents that cross package borders."""

from pydantic import BaseModel, ConfigDict

__all__ = ["Frozen"]


class Frozen(BaseModel):
    """Base of the contract's documents: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
