"""API keys: several, so that one can be replaced by the next without a gap."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from mlforge.serve.http import header
from mlforge.serve.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import Scope


class Access:
    """Who may read features."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = tuple(key.encode() for key in keys)

    def check(self, scope: Scope) -> None:
        """Raises Refused for a request without one of the keys. How long it takes tells nothing about them."""
        if not self._keys:
            return
        given = _given(scope)
        if given is None:
            raise Refused(401, "unauthorized", "an API key is needed", "send it as the header X-API-Key")
        if not any([hmac.compare_digest(given, key) for key in self._keys]):  # noqa: C419 - all are compared
            raise Refused(401, "unauthorized", "the API key is not one of those that are known")


def _given(scope: Scope) -> bytes | None:
    key = header(scope, b"x-api-key")
    if key is not None:
        return key
    scheme, _, token = (header(scope, b"authorization") or b"").partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else None
