"""Where a store is, in words that may be shown: addresses come with passwords, and mistyped ones too."""

from __future__ import annotations

import re
from urllib.parse import unquote

HIDDEN = "***"
SHORTEST = 4
"""Shorter secrets are not looked for: they would be found everywhere."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_HOST = r"(?:[\w.\-]*|\[[0-9A-Fa-f:.%]+\])(?::\d+)?"
_SHOWN = re.compile(rf"{_HOST}(?:,{_HOST})*(?:/[\w.\-/]*)?")
_USER = re.compile(r"://[^\s/@'\"]*@")
_LOGIN = re.compile(r"[^\s'\"]*:[^\s'\"]*@")


def place(address: str) -> str:
    """An address without user, password and query; what does not look like host, port and path is hidden too.

    Of text that is no URL, what looks like a login is hidden."""
    scheme = _SCHEME.match(address)
    if scheme is None:
        return _LOGIN.sub(f"{HIDDEN}@", address)
    rest, _, query = address[scheme.end() :].partition("?")
    shown = rest.rpartition("@")[2]
    return scheme[0] + (shown if "@" not in query and _SHOWN.fullmatch(shown) else HIDDEN)


def secrets_of(address: str) -> set[str]:
    """The password and the values of the query that an address holds: as they are written, and as they are meant."""
    rest = address.partition("://")[2] or address
    found = {rest.rpartition("@")[0].partition(":")[2]}
    found |= {pair.partition("=")[2] for pair in rest.partition("?")[2].split("&")}
    return {text for part in found for text in (part, unquote(part)) if text}


def without(text: str, address: str) -> str:
    """A text of somebody else's, such as a driver's error, without what opens the store at an address."""
    text = _USER.sub("://", text)
    for secret in sorted(secrets_of(address), key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = text.replace(secret, HIDDEN)
    return text
