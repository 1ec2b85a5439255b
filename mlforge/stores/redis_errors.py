"""What Redis, its driver and the network say when something is wrong, in mlforge's words and without a password."""

from __future__ import annotations

from mlforge.errors import StoreDownError, StoreRefusedError, UsageError
from mlforge.masking import place
from mlforge.stores.resp import Malformed

_LOGIN = ("NOAUTH", "WRONGPASS", "ERR invalid password", "NOPERM", "ERR AUTH")
_CLUSTER = ("MOVED ", "ASK ", "CROSSSLOT ")


def unfit(url: str, error: Exception) -> UsageError:
    """The error for a URL or options that cannot be used. What redis-py and Python say of a URL may quote any of it."""
    own = isinstance(error, (Malformed, TypeError)) or str(error).startswith("Invalid value for '")
    text = str(error) if own else "redis-py cannot read them"
    return UsageError(
        f"the online store's URL or options do not fit, {place(url)}: {text}",
        hint="write redis://user:password@host:6379/0, with %40 for an @ of the password",
    )


def in_words(at: str, error: Exception) -> StoreDownError:
    """The error of ours for one of redis-py, of the server or of the system."""
    text, kind = str(error) or "timed out", type(error).__name__
    if kind in ("AuthenticationError", "AuthorizationError", "NoPermissionError") or text.startswith(_LOGIN):
        return StoreRefusedError(f"Redis at {at} refuses the user or password: {text}")
    if kind in ("MovedError", "AskError", "ClusterCrossSlotError") or text.startswith(_CLUSTER):
        return StoreRefusedError(f"Redis at {at} is a node of a cluster: {text}", hint="set cluster: true")
    if "cluster support disabled" in text:
        return StoreRefusedError(f"Redis at {at} is not a cluster", hint="leave cluster: true away")
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return StoreRefusedError(
            f"Redis at {at} shows a certificate that does not hold: {text}",
            hint="options: {ssl_ca_certs: FILE} names who signed it; the address must be a name that it bears",
        )
    return StoreDownError(f"Redis at {at} does not answer as it should: {text}", hint=_hint(text, kind))


def _hint(text: str, kind: str) -> str:
    if kind == "OutOfMemoryError" or "OOM " in text:
        return "its memory is full: raise maxmemory, or publish less"
    if text.startswith("CLUSTERDOWN"):
        return "a node is away and none has taken its place: look at CLUSTER INFO"
    return "is it running, and is the address right?"
