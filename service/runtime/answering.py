"""What the callers of a batch are told. On the event loop only; whoever has left or has an answer is left alone."""

from contract.arrays import Predictions
from service.errors import InferenceFailed, ServiceError
from service.ports import Inference
from service.runtime.batch_queue import too_late
from service.runtime.line import Batch, Part, Ticket
from service.runtime.splitting import join

__all__ = ["answer", "blame", "expire"]


def answer(batch: Batch, outputs: Predictions, now: float) -> None:
    """Give every caller its rows, once all its parts are there; one that comes after the deadline is no answer."""
    start = 0
    for part in batch.parts:
        part.answer = {name: values[start : start + part.rows] for name, values in outputs.items()}
        start += part.rows
        ticket = part.ticket
        ticket.started = min(ticket.started, batch.started)
        if ticket.is_late(now):
            expire(ticket)
        elif not ticket.future.done() and ticket.is_complete():
            ticket.future.set_result(_inference(ticket, ended=batch.started + batch.took_s))


def blame(batch: Batch, error: BaseException) -> list[Part]:
    """Find out who broke a batch: give the members that have to run once more, alone, so that neighbours live."""
    waiting = [part for part in batch.parts if not part.ticket.future.done()]
    if len(batch.parts) > 1:
        return waiting
    known = error if isinstance(error, ServiceError) else InferenceFailed(f"the graph failed: {error}")
    for part in waiting:
        part.ticket.future.set_exception(known)
    return []


def expire(ticket: Ticket) -> None:
    """Tell a caller that its time is over."""
    if not ticket.future.done():
        ticket.future.set_exception(too_late())


def _inference(ticket: Ticket, *, ended: float) -> Inference:
    heads = join([part.answer for part in ticket.parts if part.answer is not None])
    return Inference(heads=heads, queue_s=ticket.started - ticket.arrived, infer_s=ended - ticket.started)
