"""What a server says: warnings and errors, on stderr, without its secrets."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from mlforge.masking import SHORTEST
from mlforge.masking import secrets_of as secrets_of_address

if TYPE_CHECKING:
    from mlforge.serve.server_settings import ServeSettings

_SECRET_WORDS = ("password", "secret", "token", "key")


class Scrubbing(logging.Formatter):
    """Puts *** in the place of secrets, in messages and in tracebacks."""

    def __init__(self, secrets: list[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s [%(process)d] %(message)s")
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """The line or lines of a record."""
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def secrets_of(settings: ServeSettings) -> list[str]:
    """API keys, and what opens the store."""
    found = {*settings.api_keys, *_passwords(settings.store_settings())}
    return sorted((s for s in found if len(s) >= SHORTEST), key=len, reverse=True)


def _passwords(given: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    for name, value in given.items():
        if isinstance(value, dict):
            found |= _passwords(value)
        elif isinstance(value, str) and any(word in name.lower() for word in _SECRET_WORDS):
            found.add(value)
        elif isinstance(value, str) and name in ("url", "endpoint"):
            found |= secrets_of_address(value)
    return found


def log_config(settings: ServeSettings) -> dict[str, Any]:
    """The configuration of logging, for each process of a server."""
    handler = {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stderr"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": {"()": Scrubbing, "secrets": secrets_of(settings)}},
        "handlers": {"stderr": handler},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {"uvicorn": {"level": "WARNING"}, "uvicorn.error": {"level": "WARNING"}},
    }
