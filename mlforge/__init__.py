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
    from mlforge.definitions import Definitions as Definitions
    from mlforge.errors import MlforgeError as MlforgeError
    from mlforge.forge import Forge as Forge
    from mlforge.forge import open as open
    from mlforge.project.python import feature as feature
    from mlforge.project.python import ref as ref
    from mlforge.project.python import source as source
    from mlforge.project.python_metrics import Count as Count
    from mlforge.project.python_metrics import Max as Max
    from mlforge.project.python_metrics import Mean as Mean
    from mlforge.project.python_metrics import Median as Median
    from mlforge.project.python_metrics import Min as Min
    from mlforge.project.python_metrics import Rolling as Rolling
    from mlforge.project.python_metrics import Std as Std
    from mlforge.project.python_metrics import Sum as Sum
    from mlforge.project.python_metrics import Timestamp as Timestamp
    from mlforge.project.python_project import Entity as Entity
    from mlforge.project.python_project import LocalStore as LocalStore
    from mlforge.project.python_project import Source as Source
    from mlforge.render.validators import greater_than as greater_than
    from mlforge.render.validators import greater_than_or_equal as greater_than_or_equal
    from mlforge.render.validators import in_range as in_range
    from mlforge.render.validators import is_in as is_in
    from mlforge.render.validators import less_than as less_than
    from mlforge.render.validators import less_than_or_equal as less_than_or_equal
    from mlforge.render.validators import matches_regex as matches_regex
    from mlforge.render.validators import not_null as not_null
    from mlforge.render.validators import sql_check as sql_check
    from mlforge.render.validators import unique as unique
    from mlforge.retrieve import FeatureSpec as FeatureSpec
    from mlforge.sql.keys import entity_key as entity_key
    from mlforge.sql.keys import surrogate_key as surrogate_key
    from mlforge.stores.cluster import RedisClusterStore as RedisClusterStore
    from mlforge.stores.dynamodb import DynamoDBStore as DynamoDBStore
    from mlforge.stores.redis import RedisStore as RedisStore

__version__ = "0.1.0"

_HOMES = {
    "Count": "mlforge.project.python_metrics",
    "Definitions": "mlforge.definitions",
    "DynamoDBStore": "mlforge.stores.dynamodb",
    "Entity": "mlforge.project.python_project",
    "FeatureSpec": "mlforge.retrieve",
    "Forge": "mlforge.forge",
    "LocalStore": "mlforge.project.python_project",
    "Max": "mlforge.project.python_metrics",
    "Mean": "mlforge.project.python_metrics",
    "Median": "mlforge.project.python_metrics",
    "Min": "mlforge.project.python_metrics",
    "MlforgeError": "mlforge.errors",
    "RedisClusterStore": "mlforge.stores.cluster",
    "RedisStore": "mlforge.stores.redis",
    "Rolling": "mlforge.project.python_metrics",
    "Source": "mlforge.project.python_project",
    "Std": "mlforge.project.python_metrics",
    "Sum": "mlforge.project.python_metrics",
    "Timestamp": "mlforge.project.python_metrics",
    "entity_key": "mlforge.sql.keys",
    "feature": "mlforge.project.python",
    "greater_than": "mlforge.render.validators",
    "greater_than_or_equal": "mlforge.render.validators",
    "in_range": "mlforge.render.validators",
    "is_in": "mlforge.render.validators",
    "less_than": "mlforge.render.validators",
    "less_than_or_equal": "mlforge.render.validators",
    "matches_regex": "mlforge.render.validators",
    "not_null": "mlforge.render.validators",
    "open": "mlforge.forge",
    "ref": "mlforge.project.python",
    "source": "mlforge.project.python",
    "sql_check": "mlforge.render.validators",  # mlforge.sql is a package
    "surrogate_key": "mlforge.sql.keys",
    "unique": "mlforge.render.validators",
}

__all__ = [
    "Count",
    "Definitions",
    "DynamoDBStore",
    "Entity",
    "FeatureSpec",
    "Forge",
    "LocalStore",
    "Max",
    "Mean",
    "Median",
    "Min",
    "MlforgeError",
    "RedisClusterStore",
    "RedisStore",
    "Rolling",
    "Source",
    "Std",
    "Sum",
    "Timestamp",
    "__version__",
    "entity_key",
    "feature",
    "greater_than",
    "greater_than_or_equal",
    "in_range",
    "is_in",
    "less_than",
    "less_than_or_equal",
    "matches_regex",
    "not_null",
    "open",
    "ref",
    "source",
    "sql_check",
    "surrogate_key",
    "unique",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mlforge' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
