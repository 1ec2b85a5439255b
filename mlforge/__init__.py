"""mlforge: a SQL-first, embedded feature warehouse for machine learning.

    import mlforge as mlf

    fs = mlf.open()                       # the project here, or mlf.open("catalog.duckdb")
    fs.build()
    train = fs.get_training_data(features=["user_spend"], entity_df=labels, timestamp="label_time")

Names are imported when they are first used, so that ``import mlforge`` costs next to nothing."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlforge.errors import MlforgeError as MlforgeError
    from mlforge.forge import Forge as Forge
    from mlforge.forge import open as open
    from mlforge.retrieve import FeatureSpec as FeatureSpec
    from mlforge.sql.keys import entity_key as entity_key
    from mlforge.sql.keys import surrogate_key as surrogate_key

__version__ = "0.1.0"

_HOMES = {
    "FeatureSpec": "mlforge.retrieve",
    "Forge": "mlforge.forge",
    "MlforgeError": "mlforge.errors",
    "entity_key": "mlforge.sql.keys",
    "open": "mlforge.forge",
    "surrogate_key": "mlforge.sql.keys",
}

__all__ = ["FeatureSpec", "Forge", "MlforgeError", "__version__", "entity_key", "open", "surrogate_key"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mlforge' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
