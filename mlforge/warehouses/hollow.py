"""Files of text that hold no rows, and so do not say what columns there are."""

from __future__ import annotations

from pathlib import Path

_SMALL = 65_536  # bytes: what is larger has rows


def why_hollow(format_: str, files: list[str]) -> tuple[str, str] | None:
    """The first file, and what is wrong with it, if none of the files has a row beside a header; None if one may have.

    Of what is remote, compressed or encoded in another way nobody looks."""
    first = None
    for file in files:
        said = _said(format_, Path(file))
        if said is None:
            return None
        first = first or (file, said)
    return first


def _said(format_: str, path: Path) -> str | None:
    try:
        if path.stat().st_size > _SMALL:
            return None
        lines = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        return None
    if not lines or (format_ == "json" and lines == ["[]"]):
        return "holds nothing"
    if format_ == "csv" and len(lines) == 1:
        return f"holds one line, {lines[0]!r}, which may be a header or a row"
    return None
