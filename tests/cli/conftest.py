"""A project as ``mlforge init`` makes it, built twice: the second build found new payments and one more column."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from mlforge.project.scaffold import create
from tests.cli.running import Shop, mlforge

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("MLFORGE_PROFILE", raising=False)


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cli") / "shop"
    create(root, "shop")
    mlforge("-C", root, "build")
    return root


@pytest.fixture(scope="session")
def built(built_once: Path) -> Path:
    """Not to be written: take ``shop`` for that."""
    root = built_once.with_name("twice")
    shutil.copytree(built_once, root)
    shop = Shop(root)
    shop.pay("201,7,2024-06-01 10:00:00,grocer,10.00,settled")
    shop.change("user_spend", "AS payments_7d,", "AS payments_7d,\n    MAX(amount) OVER ever AS biggest,")
    shop.run("build")
    return root


@pytest.fixture
def shop(built: Path, tmp_path: Path) -> Shop:
    """A copy of the project that a test may change."""
    shutil.copytree(built, tmp_path / "shop")
    return Shop(tmp_path / "shop")
