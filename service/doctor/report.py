"""What the doctor says, as a document."""

from pydantic import BaseModel, ConfigDict

__all__ = ["Cores", "Finding", "Host", "ModelLine", "Plan", "Report"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Cores(_Frozen):
    """Cores that may be used, and what limits them."""

    usable: float
    source: str


class Plan(_Frozen):
    """How work is laid on the cores."""

    runners: int
    threads_a_call: int
    decode_threads: int


class Host(_Frozen):
    """What the graphs run on."""

    onnxruntime: str
    cpu_flags: tuple[str, ...]
    memory_limit_mib: float | None


class ModelLine(_Frozen):
    """The version of a model that would serve."""

    name: str
    version: int
    heads: tuple[str, ...]
    items: int
    preactivation_mib: float


class Finding(_Frozen):
    """Something to know: what is wrong, how to mend it, and whether it stops serving."""

    problem: str
    fix: str
    stops_serving: bool = False


class Report(_Frozen):
    """All of it; *settings* are those that differ from their defaults, secrets hidden."""

    cores: Cores
    plan: Plan
    host: Host
    models: tuple[ModelLine, ...]
    store: str
    store_reachable: bool
    admin_open: bool
    settings: dict[str, str]
    findings: tuple[Finding, ...]

    @property
    def serves(self) -> bool:
        """Tell whether nothing stops serving."""
        return not any(finding.stops_serving for finding in self.findings)
