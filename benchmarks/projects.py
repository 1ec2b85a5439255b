"""Small projects over the benchmark data."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from harness import DATA

if TYPE_CHECKING:
    from pathlib import Path


def project(name: str, sources: dict[str, Path], features: dict[str, str], *, keep: bool = False) -> Path:
    """A project folder with these sources (name to file) and features (name to SQL); made anew unless ``keep``."""
    root = DATA / "projects" / name
    if keep and root.exists():
        return root
    shutil.rmtree(root, ignore_errors=True)
    (root / "features").mkdir(parents=True)
    lines = ["name: bench", "entities:", "  user: {key: user_id}", "sources:"]
    lines += [f"  {source}: {{path: '{path}', timestamp: event_time}}" for source, path in sources.items()]
    (root / "mlforge.yaml").write_text("\n".join(lines) + "\n")
    for feature, text in features.items():
        (root / "features" / f"{feature}.sql").write_text(text)
    return root
