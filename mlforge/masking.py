"""What opens a store or a source, out of sight: addresses come with passwords and tokens, and mistyped ones too.

Whatever leaves mlforge goes through ``masked``: errors, what the catalog and its log keep, and what is listed."""

from __future__ import annotations

import re
from contextlib import suppress
from urllib.parse import unquote

HIDDEN = "***"
SHORTEST = 4
"""Shorter secrets are not looked for: they would be found everywhere."""
_LONG = 16  # a value of a query that is as long as this one may be a secret, whatever its name
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_HOST = r"(?:[\w.\-]*|\[[0-9A-Fa-f:.%]+\])(?::\d+)?"
_SHOWN = re.compile(rf"{_HOST}(?:,{_HOST})*(?:/[\w.\-/]*)?")
_LOGIN = re.compile(r"[^\s'\"]*:[^\s'\"]*@")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*://[^\s'\"<>]*[^\s'\"<>.,:;)])")
_NAMES = r"\w*(?:password|passwd|pwd|secret|token|signature|access_?key|account_?key|api_?key)\w*|sig"
_VALUE = r"'[^']*'|\"[^\"]*\"|[^\s;&,'\")]+"
_SETTING = re.compile(rf"\b((?:{_NAMES})=|pass(?:word|wd)\s*=\s*)({_VALUE})", re.IGNORECASE)
_NAMED = re.compile(_NAMES, re.IGNORECASE)
_ACCOUNTS = ("abfs://", "abfss://", "wasb://", "wasbs://")  # what stands before the @ is a container
_EXAMPLE = "user:password"  # as hints write it
_known: set[str] = set()


def place(address: str) -> str:
    """An address of a store without user, password and query; what does not look like host, port and path is hidden
    too.

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


def remember(address: str) -> None:
    """Have ``masked`` hide what opens a source at an address, wherever it is said and without the address too."""
    rest = address.partition("://")[2] or address
    found = {value.strip("'\"") for _, value in _SETTING.findall(address)}
    if "://" in address:
        login = _apart(address)[1]
        _, colon, password = login.partition(":")
        found.add(password if colon else login)
        for pair in rest.partition("?")[2].split("&"):
            name, _, value = pair.partition("=")
            if len(value) >= _LONG or _NAMED.fullmatch(name):
                found.add(value)
    _known.update(text for part in found for text in (part, unquote(part)) if len(text) >= SHORTEST)


def masked(text: str) -> str:
    """A text without what opens a source or a store: logins and queries of the URLs in it, values that are set to a
    password, and whatever was remembered."""
    for secret in sorted((s for s in _known if s in text), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    if "://" in text:
        text = _URL.sub(lambda found: _masked_url(found[1]), text)
    return _SETTING.sub(rf"\1{HIDDEN}", text) if "=" in text else text


def without_login(url: str) -> str:
    """A URL without user and password: what lies there is the same with another one."""
    return _apart(url)[0]


def clean(error: BaseException | None) -> None:
    """Mask what an error says, and all that it comes from, as a traceback shows them."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        with suppress(Exception):  # it may be the user's class
            error.args = tuple(masked(arg) if isinstance(arg, str) else arg for arg in error.args)
            if isinstance(error, OSError) and isinstance(error.filename, str):
                error.filename = masked(error.filename)
        error = error.__cause__ or error.__context__


def _masked_url(url: str) -> str:
    shown, login = _apart(url)
    if login and login != _EXAMPLE:
        scheme, _, rest = shown.partition("://")
        shown = f"{scheme}://{HIDDEN}@{rest}" if rest else f"{scheme}://{HIDDEN}"
    elif login:
        shown = url
    before, mark, query = shown.partition("?")  # in other schemes ? may stand for any character of a file's name
    asks = mark and ("=" in query or before.startswith(("http:", "https:")))
    return f"{before}?{HIDDEN}" if asks else shown


def _apart(url: str) -> tuple[str, str]:
    """A URL without its login, and that. A password may hold any character, also / and ? and @."""
    scheme, _, rest = url.partition("://")
    authority = rest.partition("/")[0]
    open_ended = ":" in authority.partition("@")[0]
    if "@" in authority and not open_ended:
        login, _, host = rest.partition("@")
        return (url, "") if f"{scheme.lower()}://" in _ACCOUNTS else (f"{scheme}://{host}", login)
    path, mark, query = rest.partition("?")
    if open_ended and "@" in path:
        login, _, host = path.rpartition("@")
        return f"{scheme}://{host}{mark}{query}", login
    if open_ended and not re.fullmatch(_HOST, authority):  # an @ behind the ?, or the URL was cut
        login, at, host = rest.rpartition("@")
        return f"{scheme}://{host}" if at else f"{scheme}://", login if at else host
    return url, ""
