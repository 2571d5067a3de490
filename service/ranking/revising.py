"""What the editors and books of all families have in common: reading a revision, and keeping a change."""

import asyncio
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from service.errors import PreconditionMissing, RevisionConflict, UnreadableDocument
from service.ranking.follower import Book
from service.revisions import Action, Change, Revision, RevisionStore

__all__ = ["Author", "conflict", "keep", "read_document", "told", "unseen"]

_Document = TypeVar("_Document", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Author:
    """Who changes something, and why.

    Args:
        saw: Newest revision that the writer has seen; None where it has not said.
    """

    name: str
    reason: str = ""
    saw: int | None = None

    def change(self, name: str, document: str, *, expected: int, action: Action) -> Change:
        """Give the change that this author asks for."""
        return Change(
            name=name, document=document, expected=expected, author=self.name, reason=self.reason, action=action
        )


def read_document(revision: Revision, kind: type[_Document]) -> _Document:
    """Read what a revision says.

    Raises:
        UnreadableDocument: When it cannot be read.
    """
    try:
        return kind.model_validate_json(revision.document)
    except ValidationError as error:
        raise UnreadableDocument(
            f"revision {revision.revision} of {revision.name} cannot be read: {told(error)}",
            fix="write it again; the last good revision serves until then",
        ) from None


def told(error: ValidationError) -> str:
    """Give the sentence of the first thing that is wrong."""
    return str(error.errors(include_url=False, include_input=False)[0]["msg"]).removeprefix("Value error, ")


async def keep(store: RevisionStore, book: Book, change: Change) -> Revision:
    """Keep a change and put it in force.

    Raises:
        RevisionConflict: When someone else has changed it meanwhile.
        StoreUnavailable: When it could not be kept; what was in force stays.
    """

    async def kept() -> Revision:
        revision = await asyncio.to_thread(store.append, change)
        book.apply(revision)
        return revision

    # Shielded: a caller that leaves between the two steps must not leave a kept revision out of force.
    return await asyncio.shield(kept())


def unseen(what: str, newest: int) -> PreconditionMissing:
    """Give the refusal of a change whose author has not said what it saw."""
    return PreconditionMissing(
        f"{what} is at revision {newest} already", fix=f'look at it, then send If-Match: "{newest}"'
    )


def conflict(name: str, author: Author, newest: Revision | None) -> RevisionConflict:
    """Give the refusal of a change whose author saw another revision than the newest."""
    asked = Change(name=name, document="", expected=author.saw or 0, author=author.name)
    return RevisionConflict.between(asked, newest)
