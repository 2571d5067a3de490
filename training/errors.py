"""Everything training refuses, as one tree with stable codes.

::

    TrainingError
    ├── DataError               a data set is missing, or is not what it declares
    │   ├── FetchError          a download failed or does not match its checksum
    │   ├── LabelLeak           a feature alone gives a label away
    │   └── LogError            logged impressions cannot be read, or not be split by time
    ├── UnknownArchitecture     no such model
    ├── InvalidOption           an option that its architecture, head or balancer does not have
    ├── UtilityError            a utility reads no outcome, or gives gains that no ranking can be judged by
    ├── SearchError             a search has nothing to search, or its result does not fit what it is applied to
    ├── MissingExtra            a command needs packages that are not installed
    ├── TrainingDiverged        the loss is not finite any more
    ├── CheckpointError         a checkpoint is missing or cannot be read
    ├── ParityError             the exported graph and torch disagree
    ├── QuantisationError       8-bit weights cost more than is allowed
    ├── ReplayError             the server did not answer as it should
    └── ApplyError              the admin API refused a fusion, or did not answer
        └── ApplyConflict       somebody else changed the profile first
"""

from typing import ClassVar


class TrainingError(Exception):
    """Base of training's errors.

    Args:
        detail: One sentence: what is wrong.
        fix: One sentence: how to mend it.
    """

    code: ClassVar[str] = "training_error"

    def __init__(self, detail: str, *, fix: str = "") -> None:
        super().__init__(f"{detail}; {fix}" if fix else detail)
        self.detail = detail
        self.fix = fix


class DataError(TrainingError):
    """A data set is missing, or is not what it declares."""

    code = "data_error"


class FetchError(DataError):
    """A download failed or does not match its checksum."""

    code = "fetch_failed"


class LabelLeak(DataError):
    """A feature alone gives a label away: it will not be there when the model has to predict."""

    code = "label_leak"


class LogError(DataError):
    """Logged impressions cannot be read, or cannot be split by time."""

    code = "invalid_log"


class UtilityError(TrainingError):
    """A utility reads no outcome, or gives gains that no ranking can be judged by."""

    code = "invalid_utility"


class SearchError(TrainingError):
    """A search has nothing to search, or its result does not fit what it is applied to."""

    code = "invalid_search"


class MissingExtra(TrainingError):
    """A command needs packages that are not installed."""

    code = "missing_extra"


class UnknownArchitecture(TrainingError):
    """No architecture has this name."""

    code = "unknown_architecture"


class InvalidOption(TrainingError):
    """An option is unknown or out of range."""

    code = "invalid_option"


class TrainingDiverged(TrainingError):
    """The loss is not finite any more."""

    code = "training_diverged"


class CheckpointError(TrainingError):
    """A checkpoint is missing or cannot be read."""

    code = "invalid_checkpoint"


class ParityError(TrainingError):
    """The exported graph and torch disagree."""

    code = "parity_error"


class QuantisationError(TrainingError):
    """8-bit weights cost more accuracy than is allowed; nothing was published."""

    code = "quantisation_error"


class ReplayError(TrainingError):
    """The server did not answer as it should."""

    code = "replay_failed"


class ApplyError(TrainingError):
    """The admin API refused a fusion, or did not answer."""

    code = "apply_failed"


class ApplyConflict(ApplyError):
    """Somebody else changed the profile first; nothing was written."""

    code = "profile_changed"
