"""What errors do: one shape for all of them, and the status that each kind has."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from msgspec import Struct

from mlforge.errors import CannotServeError, MlforgeError, NotPublishedError, StoreDownError

RETRY_AFTER = "1"


class Fault(Struct):
    """What is wrong (``message``), in a word that programs can test (``code``), and what to do (``hint``)."""

    code: str
    message: str
    hint: str | None = None


class ErrorAnswer(Struct):
    """The body of every answer that is none."""

    error: Fault


LONGEST = 1_000
"""Characters of a message: it may repeat what the caller sent, or list all that is known."""


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


class Refused(Exception):
    """A request that is answered with an error. ``unread``: its body may still be on its way, endlessly, so that the
    connection is closed."""

    unread = False

    def __init__(self, status: int, code: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.fault = Fault(code, _short(message), _short(hint) if hint else None)

    @property
    def headers(self) -> dict[str, str]:
        """What the status asks for."""
        more = {"Connection": "close"} if self.unread or self.status in (401, 408) else {}
        if self.status == 503:
            more["Retry-After"] = RETRY_AFTER
        if self.status == 401:
            more["WWW-Authenticate"] = "Bearer"
        return more

    def body(self) -> bytes:
        """The error as JSON."""
        return msgspec.json.encode(ErrorAnswer(self.fault))


_STATUS: tuple[tuple[type[MlforgeError], int], ...] = (
    (NotPublishedError, 404),
    (CannotServeError, 501),
    (MlforgeError, 400),
)


def of_error(error: MlforgeError) -> Refused:
    """The refusal that one of our errors is."""
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    return Refused(status, error.code, error.message, error.hint)


def of_status(status: int) -> Refused:
    """The refusal for a status that the framework found."""
    words = {
        404: "there is nothing at this address",
        405: "this address does not take this method",
        408: "the body did not come in time",
    }
    hints = {404: "/docs lists the addresses", 405: "/docs shows the methods"}
    phrase = HTTPStatus(status).phrase
    code = phrase.lower().replace(" ", "_").replace("-", "_")
    return Refused(status, code, words.get(status, phrase.lower()), hints.get(status))


def store_away() -> Refused:
    """The store does not answer. Where it is does not concern the caller; the log says it."""
    return Refused(503, StoreDownError.code, "the online store does not answer", "try again; /ready tells when it does")


def too_large(what: str, most: int, option: str) -> Refused:
    """A request beyond a limit."""
    return Refused(413, "too_large", f"{what} may be at most {most:,}", f"send less at once; {option} sets the limit")


def too_slow(seconds: float) -> Refused:
    """A request that took too long."""
    return Refused(504, "timeout", f"the answer took more than {seconds:g} s", "ask for less at once, or again later")


def broken() -> Refused:
    """What is our fault. What it was is in the log only."""
    return Refused(500, "internal", "the server failed; its log says more")
