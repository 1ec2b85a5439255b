"""Writes a world as a project of mlforge: mlforge.yaml, Parquet files, and one SQL file per feature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tests.oracle.oracle import Agg, AsOf, Coalesce, Col, Cond, Expr, Feature, Ratio, Row, Whole
from tests.oracle.world import COLUMNS, DERIVED, Chain, Labels, OnDemand, World

if TYPE_CHECKING:
    from pathlib import Path

ARROW = {
    "int": pa.int64(),
    "text": pa.string(),
    "date": pa.date32(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "DECIMAL(12,2)": pa.decimal128(12, 2),
    "VARCHAR": pa.string(),
    "BOOLEAN": pa.bool_(),
    "TINYINT": pa.int8(),
    "REAL": pa.float32(),
}
TIMES = {"us": pa.timestamp("us"), "us_utc": pa.timestamp("us", "UTC"), "ns": pa.timestamp("ns")}

COMPUTED = {name: text for name, (text, _, _) in DERIVED.items()}

YAML = """\
name: world
sources:
  events: {{path: data/events*.parquet}}
  loaded_events: {{path: data/events*.parquet, loaded_at: loaded}}
  statics: {{path: data/statics.parquet}}
  lefts: {{path: data/lefts.parquet}}
entities:
  thing: {{key: [{keys}]}}
  user: {{key: u}}
"""


def write_project(world: World, folder: Path) -> None:
    """The whole project; ``folder`` must be empty."""
    (folder / "data").mkdir()
    (folder / "features").mkdir()
    (folder / "mlforge.yaml").write_text(YAML.format(keys=", ".join(world.keys)))
    write_sources(world, folder)
    for name, text in feature_texts(world).items():
        (folder / "features" / f"{name}.sql").write_text(text, encoding="utf-8")


def write_sources(world: World, folder: Path) -> None:
    """Only the data."""
    tables = source_tables(world)
    events = tables.pop("events")
    share = -(-len(events) // (len(world.narrow) + 1))
    for n, prefers in enumerate((*world.narrow, ())):  # the last one has the types that all of them have together
        part = events.slice(n * share, share) if prefers else events.slice(n * share)
        tables[f"events{n}"] = narrowed(part, prefers)
    for name, rows in tables.items():
        path = folder / "data" / f"{name}.parquet"
        if world.writer == "pyarrow":
            pq.write_table(rows, path)
        else:
            pl.from_arrow(rows).write_parquet(path, statistics=True)  # type: ignore[union-attr]


NARROW = {
    "int8": (pa.int8(), ("i",)),
    "uint16": (pa.uint16(), ("i",)),
    "int32": (pa.int32(), ("i", "x")),
    "int64": (pa.int64(), ("x",)),
    "float": (pa.float32(), ("x",)),
    "decimal": (pa.decimal128(4, 2), ("d",)),
    "decimal0": (pa.decimal128(9, 0), ("d",)),
    "null": (pa.null(), ("i", "x", "d", "s", "b", "n", "r")),
}


def narrowed(part: pa.Table, prefers: tuple[str, ...]) -> pa.Table:
    """A file's rows with the types that it prefers, where these hold each of its values as they are."""
    found = part
    for kind, columns in (NARROW[name] for name in prefers):
        for name in columns:
            values = part[name].to_pylist()
            try:
                cells = pa.array(_whole(values, kind), kind)
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
                continue
            if repr(cells.cast(part[name].type).to_pylist()) == repr(values):
                found = found.set_column(part.schema.get_field_index(name), name, cells)
    return found


def _whole(values: list[Any], kind: Any) -> list[Any]:
    """Floats as the integers that they are, for a column of integers."""
    if not pa.types.is_integer(kind):
        return values
    return [int(v) if isinstance(v, float) and v.is_integer() else v for v in values]


def source_tables(world: World) -> dict[str, pa.Table]:
    keys = {name: ARROW[kind] for name, kind in world.keys.items()}
    time = TIMES[world.time_type]
    columns = {name: ARROW[kind] for name, kind in COLUMNS.items()}
    return {
        "events": table(world.events, keys | {"t": time, "loaded": time} | columns, world.nanos),
        "statics": table(world.statics, keys | {"color": pa.string()}),
        "lefts": table(world.lefts, {"u": pa.int64()} | keys | {"t": time, "a": pa.int64()}),
    }


def table(rows: list[Row], types: dict[str, Any], nanos: int = 0) -> pa.Table:
    """Rows as an Arrow table; integers become times by their column's unit."""
    return pa.table({name: _column([row[name] for row in rows], kind, nanos) for name, kind in types.items()})


def _column(values: list[Any], kind: Any, nanos: int) -> pa.Array:
    if kind == TIMES["ns"]:
        values = [None if v is None else v * 1000 + nanos for v in values]
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.int64()).cast(kind)
    return pa.array(values, kind)


def label_table(world: World, labels: Labels) -> pa.Table:
    """Label rows with columns of their own that are called like columns of the sources."""
    keys = {name: ARROW[kind] for name, kind in world.keys.items()}
    types = {"t": pa.string(), **keys, labels.time: TIMES[labels.time_type], "u": pa.int64(), "amount": pa.float64()}
    rows = [row | {"t": f"row {n}"} for n, row in enumerate(labels.rows)]
    return table(rows, types, labels.nanos)


def feature_texts(world: World) -> dict[str, str]:
    texts = {feature.name: feature_sql(feature) for feature in world.features}
    texts |= {chain.feature.name: chain_sql(chain, world.feature(chain.target)) for chain in world.chains}
    return texts | {one.name: on_demand_sql(one) for one in world.on_demand}


def feature_sql(feature: Feature) -> str:
    source = "statics" if feature.time is None else "loaded_events" if feature.loaded_at else "events"
    where = f"\nWHERE {cond_sql(feature.where)}" if feature.where else ""
    return (
        f'{config_sql(feature, "thing")}\n{select_sql(feature, COMPUTED)}\nFROM {{{{ source("{source}") }}}}{where}\n'
    )


def chain_sql(chain: Chain, target: Feature) -> str:
    columns = {ours: f"r.{theirs}" for ours, theirs in chain.columns.items()}
    if chain.join == "FROM":
        from_ref = f'FROM {{{{ ref("{target.name}") }}}} AS r'
        return f"{config_sql(chain.feature, 'thing')}\n{select_sql(chain.feature, columns, 'r.')}\n{from_ref}\n"
    on = " AND ".join(f"l.{key} = r.{key}" for key in target.keys)
    join = f'FROM {{{{ source("lefts") }}}} AS l\n{chain.join} JOIN {{{{ ref("{target.name}") }}}} AS r ON {on}'
    return f"{config_sql(chain.feature, 'user')}\n{select_sql(chain.feature, columns, 'l.')}\n{join}\n"


def on_demand_sql(one: OnDemand) -> str:
    config = '{{ config(entity="thing", on_demand=true, request={"amount": "DOUBLE"}) }}'
    select = f"SELECT amount / NULLIF(r.{one.column}, 0) AS od_ratio, amount * 2 AS od_double"
    return f'{config}\n{select}\nFROM {{{{ ref("{one.target}") }}}} AS r\n'


def config_sql(feature: Feature, entity: str) -> str:
    said = {"timestamp": feature.time, "closed": feature.closed, "delay": feature.delay, "ttl": feature.ttl}
    said |= {"interval": feature.interval, "timezone": feature.timezone}
    written = [f'{key}="{value}"' for key, value in {"entity": entity, **said}.items() if value not in (None, "0s")]
    return f"{{{{ config({', '.join(written)}) }}}}"


def select_sql(feature: Feature, columns: dict[str, str] | None = None, prefix: str = "") -> str:
    names = [prefix + name for name in (*feature.keys, *([feature.time] if feature.time else []))]
    outputs = [f"{expr_sql(expr, columns or {})} AS {name}" for name, expr in feature.outputs]
    return "SELECT\n    " + ",\n    ".join(names + outputs)


def expr_sql(expr: Expr, columns: dict[str, str]) -> str:
    def inner(part: Expr) -> str:
        return expr_sql(part, columns)

    if isinstance(expr, Agg):
        return agg_sql(expr, columns)
    if isinstance(expr, Col):
        return columns.get(expr.name, expr.name)
    if isinstance(expr, AsOf):
        return "as_of()"
    if isinstance(expr, Coalesce):
        return f"COALESCE({inner(expr.of)}, {literal_sql(expr.default)})"
    if isinstance(expr, Ratio):
        return f"{inner(expr.top)} / NULLIF({inner(expr.bottom)}, 0)"
    if isinstance(expr, Whole):
        return f"{inner(expr.top)} {expr.op} {inner(expr.bottom)}"
    if expr.unit == "us":
        return f"epoch_us(as_of()) - epoch_us({inner(expr.of)})"
    return f"date_diff('hour', {inner(expr.of)}, as_of())"


def agg_sql(agg: Agg, columns: dict[str, str]) -> str:
    arg = columns.get(agg.arg or "", agg.arg or "*")
    arg = f"DISTINCT {arg}" if agg.distinct else arg
    where = f" FILTER (WHERE {cond_sql(agg.where)})" if agg.where else ""
    over = " OVER " + ("ever" if agg.over == "ever" else f"last_{agg.over}")
    call = {
        "count_star": "COUNT(*)",
        "count_distinct": f"COUNT(DISTINCT {arg})",
        "quantile_cont": f"quantile_cont({arg}, {agg.param})",
        "approx_quantile": f"approx_quantile({arg}, {agg.param})",
        "string_agg": f"string_agg({arg}, {literal_sql(agg.param)})",
    }.get(agg.func, f"{agg.func}({arg}{', ' + agg.by if agg.by else ''})")
    return f"({call}{where}{over})[-{agg.param}:]" if agg.func == "list" else call + where + over


def cond_sql(cond: Cond) -> str:
    return f"{cond.column} {cond.op} {literal_sql(cond.value)}"


def literal_sql(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).upper()
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)
