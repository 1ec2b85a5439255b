"""Features of every kind that a build may treat in a way of its own when its sources change.

Sources: ``ev`` (main, changes in every way), ``side`` (prices, changes now and then), ``place`` (static). A text holds
``/*more*/`` where a column can be added (a MINOR) and ``/*where*/`` where rows can be left out (a MAJOR)."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    sql: str
    more: str = ""  # the column that can be added

    @property
    def refs(self) -> tuple[str, ...]:
        return tuple(re.findall(r'ref\("(\w+)"\)', self.sql))

    @property
    def entity(self) -> str:
        found = re.search(r'entity="(\w+)"', self.sql)
        assert found
        return found[1]

    def shape(self, number: int) -> str:
        """The text as it was first (0), with a column more (1), with fewer rows (2), with both (3)."""
        added = f", {self.more}" if self.more and number & 1 else ""
        fewer = "WHERE s IS DISTINCT FROM 'a'" if number & 2 else ""
        return self.sql.replace("/*more*/", added).replace("/*where*/", fewer)


def _user(columns: str, config: str = "", relation: str = '{{ source("ev") }} /*where*/', more: str = "") -> Text:
    head = f'{{{{ config(entity="user", timestamp="t"{", " + config if config else ""}) }}}}'
    return Text(f"{head}\nSELECT k, t, {columns}/*more*/\nFROM {relation}\n", more)


def _joined(columns: str, target: str, key: str, join: str = "LEFT JOIN") -> Text:
    head = '{{ config(entity="user", timestamp="t") }}'
    relation = f'{{{{ source("ev") }}}} AS e {join} {{{{ ref("{target}") }}}} AS p ON p.{key} = e.{key} /*where*/'
    return Text(f"{head}\nSELECT e.k, e.t, {columns}\nFROM {relation}\n")


_N = "COUNT(i) OVER last_3d AS more"
_I = "i + 1 AS more"
_TILED = """SUM(x) OVER last_7d AS x7, AVG(x) OVER last_30d AS a30, COUNT(*) OVER last_7d AS n7, SUM(i) OVER last_30d AS i30,
    MIN(i) OVER last_7d AS lo, MAX(x) OVER last_30d AS hi"""

TEXTS = {
    # exact windows
    "exact": _user(
        "SUM(x) OVER last_7d AS x7, AVG(x) OVER last_30d AS a30, COUNT(*) OVER last_7d AS n7, "
        "COUNT(DISTINCT s) OVER last_30d AS d30, MIN(i) OVER last_7d AS lo, MAX(x) OVER ever AS hi, s AS last_s",
        more=_N,
    ),
    "middle": _user("MEDIAN(x) OVER last_7d AS mid, STDDEV(x) OVER last_30d AS spread, SUM(i) OVER ever AS total"),
    "ordered": _user(
        "FIRST(s) OVER last_7d AS f, LAST(i) OVER last_30d AS l, (LIST(i) OVER last_7d)[-3:] AS li, "
        "STRING_AGG(s, '-') OVER last_7d AS sa, ARG_MAX(s, x) OVER ever AS am, MODE(s) OVER last_7d AS mo"
    ),
    "right": _user(
        "SUM(x) FILTER (WHERE i > 0) OVER last_24h AS x1, COUNT(*) OVER ever AS n, x AS last_x",
        'closed="right", delay="6h", ttl="10d"',
        more=_N,
    ),
    "months": _user("SUM(x) OVER last_1mo AS x1, COUNT(*) OVER last_2mo AS n2"),
    "ago": _user("date_diff('hour', MAX(t) OVER ever, as_of()) AS hours, COUNT(*) OVER last_7d AS n"),
    "checked": _user("SUM(x) OVER last_7d AS x7", 'validators={"input.i": [greater_than(-900)]}', more=_N),
    # plain rows
    "plain": _user("x, i, s", more=_I),
    "plain_ttl": _user("x * 2 AS x2, s", 'ttl="5d", delay="1h"', '{{ source("ev") }} WHERE i > 0'),
    "unnested": _user("u", relation='(SELECT k, t, unnest([i, i + 1]) AS u FROM {{ source("ev") }} /*where*/)'),
    "grouped": Text(
        '{{ config(entity="user", timestamp="t") }}\n'
        "SELECT k, date_trunc('day', e.t) + INTERVAL 1 DAY AS t, SUM(x) AS x, COUNT(*) AS n/*more*/\n"
        'FROM {{ source("ev") }} AS e /*where*/ GROUP BY ALL\n',
        "MAX(s) AS more",
    ),
    "before": _user("x, lag(x) OVER (PARTITION BY k ORDER BY t, id, x) AS before"),
    "distinct": Text('{{ config(entity="user", timestamp="t") }}\nSELECT DISTINCT k, t, s FROM {{ source("ev") }}\n'),
    "newest": _user(
        "x, s", relation='{{ source("ev") }} QUALIFY row_number() OVER (PARTITION BY k ORDER BY t, id) % 2 = 1'
    ),
    "steps": _user(
        "SUM(step) OVER last_7d AS s7",
        relation='(SELECT *, i - lag(i) OVER (PARTITION BY k ORDER BY t, id, x) AS step FROM {{ source("ev") }})',
    ),
    "both": _user(
        "SUM(v) OVER last_7d AS v7, COUNT(*) OVER ever AS n",
        relation='(SELECT k, t, x AS v FROM {{ source("ev") }} UNION ALL SELECT k, t, price FROM {{ source("side") }})',
    ),
    # event relations that take some looking into
    "looked_up": Text(
        '{{ config(entity="user", timestamp="t") }}\nSELECT e.k, e.t, e.x, p.price/*more*/\n'
        'FROM {{ source("ev") }} AS e ASOF LEFT JOIN {{ source("side") }} AS p ON p.j = e.j AND e.t >= p.t\n',
        "e.i + 1 AS more",
    ),
    "only_light": _user(
        "SUM(x) OVER last_7d AS x7, s AS last_s",
        relation='{{ source("ev") }} WHERE j IN (SELECT j FROM {{ source("place") }} WHERE weight < 30)',
    ),
    "with_cte": Text(
        '{{ config(entity="user", timestamp="t") }}\n'
        'WITH e AS (SELECT * FROM {{ source("ev") }} WHERE i > -5), f AS (SELECT k, t, x * 2 AS y FROM e)\n'
        "SELECT k, t, SUM(y) OVER last_7d AS y7, COUNT(*) OVER ever AS n FROM f\n"
    ),
    "computed": Text(
        '{{ config(entity="user", timestamp="at", interval="1d") }}\n'
        "SELECT k + 1 AS k, t + to_hours(coalesce(i, 0) % 50) AS at, SUM(x) OVER last_7d AS x7, COUNT(*) OVER last_30d AS n\n"
        'FROM {{ source("ev") }}\n'
    ),
    # told how to be made
    "before_by_key": _user("x, lag(x) OVER (PARTITION BY k ORDER BY t, id, x) AS before", 'incremental="by_key"'),
    "steps_by_key": _user(
        "SUM(step) OVER last_7d AS s7, COUNT(*) OVER ever AS n",
        'incremental="by_key", interval="1d"',
        '(SELECT *, i - lag(i) OVER (PARTITION BY k ORDER BY t, id, x) AS step FROM {{ source("ev") }})',
    ),
    "grouped_by_key": Text(
        '{{ config(entity="user", timestamp="t", incremental="by_key") }}\n'
        "SELECT k, date_trunc('day', e.t) + INTERVAL 1 DAY AS t, SUM(x) AS x, COUNT(*) AS n\n"
        'FROM {{ source("ev") }} AS e GROUP BY ALL\n'
    ),
    "static_by_key": Text(
        '{{ config(entity="user", incremental="by_key") }}\nSELECT k, MAX(x) AS hi, COUNT(*) AS n FROM {{ source("ev") }} '
        "GROUP BY k\n"
    ),
    "never": _user("x, s", 'incremental="never"'),
    "looking_back": _user("SUM(x) OVER last_7d AS x7, COUNT(*) OVER last_30d AS n", 'interval="1d", lookback="10d"'),
    # snapshots
    "tiles": _user(_TILED, 'interval="1d"', more=_N),
    "tiled_sums": _user(
        "SUM(x) OVER last_7d AS x7, AVG(i) FILTER (WHERE i > 0) OVER last_30d AS a30, COUNT(*) OVER last_7d AS n7",
        'interval="1d", delay="3h"',
        more=_N,
    ),
    "tiles_ever": _user("SUM(x) OVER ever AS x, COUNT(*) OVER last_7d AS n, MAX(i) OVER ever AS hi", 'interval="1d"'),
    "weekly": _user("AVG(x) OVER last_14d AS a, COUNT(*) OVER last_7d AS n", 'interval="1w"'),
    "hours": _user("SUM(x) OVER last_24h AS x1, MIN(i) OVER last_7d AS lo", 'interval="6h", delay="2h"'),
    "zoned": _user(
        "AVG(x) OVER last_7d AS a, COUNT(*) OVER last_30d AS n", 'interval="1d", timezone="America/New_York"'
    ),
    "snapshots": _user(
        "x AS last_x, MEDIAN(x) OVER last_7d AS mid, COUNT(DISTINCT s) OVER last_30d AS d, LAST(s) OVER last_3d AS l",
        'interval="1d", ttl="9d"',
        more=_N,
    ),
    "monthly": _user("SUM(x) OVER last_1mo AS x1, COUNT(*) OVER last_2mo AS n2, s AS last_s", 'interval="1mo"'),
    "daily_rows": _user("x, s", 'interval="1d", ttl="3d", delay="2h"'),
    # static
    "static": Text(
        '{{ config(entity="user") }}\nSELECT k, MAX(x) AS hi, COUNT(*) AS n/*more*/ FROM {{ source("ev") }} '
        "/*where*/ GROUP BY k\n",
        "MIN(i) AS more",
    ),
    "places": Text('{{ config(entity="shop") }}\nSELECT j, city, weight FROM {{ source("place") }}\n'),
    # other keys
    "prices": Text('{{ config(entity="shop", timestamp="t") }}\nSELECT j, t, price FROM {{ source("side") }}\n'),
    "pairs": Text(
        '{{ config(entity="pair", timestamp="t", interval="1d") }}\n'
        'SELECT k, j, t, SUM(x) OVER last_7d AS x7, COUNT(*) OVER last_30d AS n FROM {{ source("ev") }}\n'
    ),
    "shops": Text(
        '{{ config(entity="shop", timestamp="t") }}\n'
        'SELECT j, t, SUM(x) OVER last_7d AS x7, COUNT(DISTINCT k) OVER last_30d AS users FROM {{ source("ev") }}\n'
    ),
    # refs
    "at_places": _joined("SUM(e.x * p.weight) OVER last_7d AS xw, MAX(p.city) OVER ever AS city", "places", "j"),
    "in_places": _joined("e.x, p.city", "places", "j", "JOIN"),
    "priced": _joined("SUM(e.i * p.price) OVER last_7d AS paid, p.price AS last_price", "prices", "j"),
    "priced_rows": _joined("e.x, p.price", "prices", "j"),
    "surprise": _joined("MAX(e.x - p.x7) OVER last_30d AS most, e.x - p.x7 AS last", "exact", "k"),
    "against_days": _joined("SUM(e.x - p.a30) OVER last_7d AS over", "tiles", "k"),
    "against_shots": _joined("e.x, p.mid, p.l", "snapshots", "k"),
    "of_rows": _user("SUM(x) OVER last_7d AS x7, COUNT(*) OVER ever AS n", relation='{{ ref("plain") }}'),
    "of_tiles": _user("MAX(x7) OVER last_30d AS most, n7 AS last_n", relation='{{ ref("tiles") }}'),
    "of_places": Text('{{ config(entity="shop") }}\nSELECT j, city || weight AS label FROM {{ ref("places") }}\n'),
    "asked": Text(
        '{{ config(entity="user", on_demand=true) }}\n'
        'SELECT w.x7 * 2 AS twice, COALESCE(p.x, -1) AS known FROM {{ ref("exact") }} AS w, {{ ref("plain") }} AS p\n'
    ),
}


def with_refs(names: list[str]) -> list[str]:
    """The features and all that they read, in an order in which they can be built."""
    found: list[str] = []
    for name in names:
        found += [n for n in (*with_refs(list(TEXTS[name].refs)), name) if n not in found]
    return found
