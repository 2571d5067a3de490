"""Everything the service refuses, as one tree with stable codes; ``api/errors.py`` gives the HTTP statuses.

::

    ServiceError
    ├── InvalidRequest           the document itself is wrong
    │   ├── MalformedBody        not JSON, or not an object
    │   ├── InvalidField         a field is unknown, missing, of the wrong type or out of range
    │   ├── UnsupportedEncoding  the body is packed in a way that is not read here
    │   ├── EmptyCandidates      nothing to rank
    │   └── TooManyCandidates    more candidates than one request may carry
    ├── BodyTooLarge             more bytes than one request may carry
    ├── NotFound
    │   ├── UnknownModel
    │   ├── UnknownProfile
    │   ├── UnknownLayer
    │   └── UnknownRevision
    ├── ProfileMismatch          the profile reads heads or fields that the model does not have
    ├── Overloaded               refused at the door: it would wait too long, or be answered too late
    │   └── PreviewBusy          another preview runs
    ├── DeadlineExceeded         the caller's time ran out before the scores were there
    ├── Unavailable
    │   ├── NotReady             no model is loaded
    │   ├── ShuttingDown         the process is draining
    │   ├── StoreUnavailable     a store did not answer
    │   └── WorkerFailed         a process that was started for some work did not do it
    ├── InferenceFailed          the graph itself failed
    ├── UnreadableDocument       a kept revision cannot be read; the last good one keeps serving
    ├── ModelRejected            a bundle did not pass its gate; the last good one keeps serving
    └── AdminError
        ├── AdminClosed          no admin token is configured
        ├── Unauthorized         no token, or a wrong one
        ├── Forbidden            the token has not the scope that the call needs
        ├── InvalidProfile       the body of a fusion change is wrong
        ├── InvalidExperiment    a layer of experiments cannot be as it was written
        │   └── OverlappingExperiments  two would change the same thing for the same unit
        ├── PreconditionMissing  a change of what exists has to say which revision it saw
        └── RevisionConflict     someone else has changed it meanwhile
"""

from typing import ClassVar, Self

from service.revisions import Change, Revision


class ServiceError(Exception):
    """Base of the service's errors.

    Args:
        detail: One sentence: what is wrong.
        fix: One sentence: how to mend it.
        path: JSON pointer to the bad field of the request; "" where there is none.
        retry_after_s: Seconds after which trying again is worth it; None where it is not.
    """

    code: ClassVar[str] = "internal_error"

    def __init__(self, detail: str, *, fix: str = "", path: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fix = fix
        self.path = path
        self.retry_after_s = retry_after_s


class InvalidRequest(ServiceError):
    """The request's document is wrong."""

    code = "invalid_request"


class MalformedBody(InvalidRequest):
    """The body is not a JSON object."""

    code = "malformed_body"


class UnsupportedEncoding(InvalidRequest):
    """The body is packed in a way that is not read here."""

    code = "unsupported_encoding"


class InvalidField(InvalidRequest):
    """A field is unknown, missing, of the wrong type or out of range."""

    code = "invalid_field"


class EmptyCandidates(InvalidRequest):
    """The list of candidates is empty."""

    code = "empty_candidates"


class TooManyCandidates(InvalidRequest):
    """The list of candidates is longer than allowed."""

    code = "too_many_candidates"


class BodyTooLarge(ServiceError):
    """The body has more bytes than allowed."""

    code = "body_too_large"


class NotFound(ServiceError):
    """What the request names does not exist."""

    code = "not_found"


class UnknownModel(NotFound):
    """No such model is served."""

    code = "unknown_model"


class UnknownProfile(NotFound):
    """No such fusion profile exists."""

    code = "unknown_profile"


class UnknownLayer(NotFound):
    """No such layer of experiments exists."""

    code = "unknown_layer"


class UnknownRevision(NotFound):
    """The document has no such revision or part."""

    code = "unknown_revision"


class ProfileMismatch(ServiceError):
    """The profile reads heads or fields that the model does not have."""

    code = "profile_mismatch"


class Overloaded(ServiceError):
    """Too much waits already for the request to be answered in time."""

    code = "overloaded"


class PreviewBusy(Overloaded):
    """Another preview of a fusion runs in this process."""

    code = "preview_busy"


class DeadlineExceeded(ServiceError):
    """The caller's deadline passed before the scores were there."""

    code = "deadline_exceeded"


class Unavailable(ServiceError):
    """The service cannot answer now."""

    code = "unavailable"


class NotReady(Unavailable):
    """No model is loaded."""

    code = "not_ready"


class ShuttingDown(Unavailable):
    """The process is draining."""

    code = "shutting_down"


class StoreUnavailable(Unavailable):
    """A store did not answer."""

    code = "store_unavailable"


class WorkerFailed(Unavailable):
    """A process that was started for a piece of work did not do it."""

    code = "worker_failed"


class InferenceFailed(ServiceError):
    """The graph failed on this batch."""

    code = "inference_failed"


class ModelRejected(ServiceError):
    """A bundle did not pass its gate."""

    code = "model_rejected"


class UnreadableDocument(ServiceError):
    """A kept revision cannot be read."""

    code = "unreadable_document"


class AdminError(ServiceError):
    """An admin call was refused."""

    code = "admin_error"


class AdminClosed(AdminError):
    """No admin token is configured."""

    code = "admin_closed"


class Unauthorized(AdminError):
    """The token is missing or wrong."""

    code = "unauthorized"


class InvalidProfile(AdminError):
    """The body of a fusion change is wrong."""

    code = "invalid_profile"


class InvalidExperiment(AdminError):
    """A layer of experiments cannot be as it was written."""

    code = "invalid_experiment"


class OverlappingExperiments(InvalidExperiment):
    """Two experiments would change the same thing for the same unit at the same time."""

    code = "overlapping_experiments"


class Forbidden(AdminError):
    """The token is known and has not the scope that the call needs."""

    code = "forbidden"


class PreconditionMissing(AdminError):
    """A change of what exists has to say which revision its writer saw."""

    code = "precondition_missing"


class RevisionConflict(AdminError):
    """The newest revision is not the one that the writer saw.

    Args:
        newest: What is there now; None where there is nothing.
    """

    code = "revision_conflict"

    def __init__(self, detail: str, *, fix: str = "", newest: Revision | None = None) -> None:
        super().__init__(detail, fix=fix)
        self.newest = newest

    @classmethod
    def between(cls, change: Change, newest: Revision | None) -> Self:
        """Say who changed what since the writer looked."""
        if newest is None:
            return cls(f"{change.name} does not exist", fix="create it without If-Match")
        reason = f": {newest.reason}" if newest.reason else ""
        return cls(
            f"{change.name} is at revision {newest.revision}, written by {newest.author} "
            f"at {newest.created_at:%Y-%m-%d %H:%M:%S} UTC ({newest.action}){reason}",
            fix=f'look at it, then send If-Match: "{newest.revision}"',
            newest=newest,
        )
