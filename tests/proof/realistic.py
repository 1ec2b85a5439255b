"""Features as people write them, over a shop, each beside a twin that differs in little and sees, or hides, the future."""

from __future__ import annotations

from tests.proof.truth import Table

SHOP = {
    "orders": Table(
        {"uid": "BIGINT", "oid": "BIGINT", "placed": "TIMESTAMP", "amount": "BIGINT", "cat": "VARCHAR"}, "placed"
    ),
    "logins": Table({"uid": "BIGINT", "seen": "TIMESTAMP", "ok": "BIGINT"}, "seen"),
    "refunds": Table({"uid": "BIGINT", "oid": "BIGINT", "booked": "TIMESTAMP", "refund": "BIGINT"}, "booked", "36h"),
    "plans": Table({"uid": "BIGINT", "since": "TIMESTAMP", "plan": "VARCHAR"}, "since"),
    "visits": Table({"uid": "BIGINT", "day": "DATE", "pages": "BIGINT"}, "day", "1d"),
    "people": Table({"uid": "BIGINT", "country": "VARCHAR"}),
    "calendar": Table({"ts": "TIMESTAMP"}),
}

_SESSIONS = (
    "WITH g AS (SELECT *, CASE WHEN seen - LAG(seen) OVER (PARTITION BY uid ORDER BY seen) <= INTERVAL 1 DAY THEN 0 "
    "ELSE 1 END AS fresh FROM @logins), h AS (SELECT *, SUM(fresh) OVER (PARTITION BY uid ORDER BY seen) AS sid FROM g) "
)
_MONTH = "date_trunc('month', placed) + INTERVAL 1 MONTH"
_DAYEND = "date_trunc('day', placed) + INTERVAL 1 DAY"

#: what it is -> the honest form, its twin. The stamp is column ts.
PAIRS: dict[str, tuple[str, str]] = {
    "RFM at the end of the month": (
        f"SELECT uid, {_MONTH} AS ts, COUNT(*) AS f, SUM(amount) AS m, MAX(placed) AS r FROM @orders GROUP BY ALL",
        "SELECT uid, date_trunc('month', placed) AS ts, COUNT(*) AS f, SUM(amount) AS m, MAX(placed) AS r FROM @orders GROUP BY ALL",
    ),
    "RFM so far": (
        "SELECT uid, placed AS ts, COUNT(*) OVER w AS f, SUM(amount) OVER w AS m FROM @orders WINDOW w AS (PARTITION BY uid ORDER BY placed)",
        "SELECT uid, placed AS ts, COUNT(*) OVER w AS f, SUM(amount) OVER w AS m FROM @orders WINDOW w AS (PARTITION BY uid)",
    ),
    "RFM over a calendar": (
        "SELECT p.uid, c.ts, COUNT(o.oid) AS f, SUM(o.amount) AS m FROM @people p CROSS JOIN @calendar c LEFT JOIN @orders o "
        "ON o.uid = p.uid AND o.placed < c.ts GROUP BY p.uid, c.ts",
        "SELECT p.uid, c.ts, COUNT(o.oid) AS f, SUM(o.amount) AS m FROM @people p CROSS JOIN @calendar c LEFT JOIN @orders o "
        "ON o.uid = p.uid AND date_trunc('month', o.placed) <= c.ts GROUP BY p.uid, c.ts",
    ),
    "the last 30 days over a calendar": (
        "SELECT p.uid, c.ts, COALESCE(SUM(o.amount), 0) AS m FROM @people p CROSS JOIN @calendar c LEFT JOIN @orders o ON "
        "o.uid = p.uid AND o.placed >= c.ts - INTERVAL 30 DAY AND o.placed < c.ts GROUP BY p.uid, c.ts",
        "SELECT p.uid, c.ts, COALESCE(SUM(o.amount), 0) AS m FROM @people p CROSS JOIN @calendar c LEFT JOIN @orders o ON "
        "o.uid = p.uid AND o.placed BETWEEN c.ts - INTERVAL 15 DAY AND c.ts + INTERVAL 15 DAY GROUP BY p.uid, c.ts",
    ),
    "number of the session": (
        _SESSIONS + "SELECT uid, seen AS ts, sid FROM h",
        _SESSIONS.replace("ORDER BY seen) AS sid", "ORDER BY seen DESC) AS sid") + "SELECT uid, seen AS ts, sid FROM h",
    ),
    "session so far": (
        _SESSIONS + "SELECT uid, seen AS ts, COUNT(*) OVER (PARTITION BY uid, sid ORDER BY seen) AS n FROM h",
        _SESSIONS + "SELECT uid, seen AS ts, COUNT(*) OVER (PARTITION BY uid, sid) AS n FROM h",
    ),
    "closed sessions": (
        _SESSIONS
        + "SELECT uid, MIN(seen) AS ts, arg_min(ok, seen) AS first_ok FROM h WHERE ok IS NOT NULL GROUP BY uid, sid",
        _SESSIONS + "SELECT uid, MIN(seen) AS ts, COUNT(*) AS n FROM h GROUP BY uid, sid",
    ),
    "first purchase": (
        "SELECT uid, MIN(placed) AS ts, arg_min(cat, placed) AS cat FROM @orders WHERE cat IS NOT NULL GROUP BY uid",
        "SELECT uid, MIN(placed) AS ts, arg_max(cat, placed) AS cat FROM @orders GROUP BY uid",
    ),
    "first purchase by QUALIFY": (
        "SELECT uid, placed AS ts, amount FROM @orders QUALIFY row_number() OVER (PARTITION BY uid ORDER BY placed) = 1",
        "SELECT uid, placed AS ts, amount FROM @orders QUALIFY row_number() OVER (PARTITION BY uid ORDER BY amount DESC) = 1",
    ),
    "first refund, when it is booked": (
        "SELECT uid, MIN(booked) + INTERVAL 36 HOUR AS ts, arg_min(refund, booked) AS v FROM @refunds WHERE refund IS NOT NULL GROUP BY uid",
        "SELECT uid, MIN(booked) AS ts, arg_min(refund, booked) AS v FROM @refunds WHERE refund IS NOT NULL GROUP BY uid",
    ),
    "plan of the day by ASOF": (
        "SELECT o.uid, o.placed AS ts, o.amount, p.plan FROM @orders o ASOF LEFT JOIN @plans p ON o.uid = p.uid AND o.placed >= p.since",
        "SELECT o.uid, o.placed AS ts, o.amount, p.plan FROM @orders o ASOF LEFT JOIN @plans p ON o.uid = p.uid AND o.placed <= p.since",
    ),
    "refund by ASOF with its delay": (
        "SELECT o.uid, o.placed AS ts, r.refund FROM @orders o ASOF LEFT JOIN @refunds r ON o.uid = r.uid AND o.placed >= r.booked + INTERVAL 36 HOUR",
        "SELECT o.uid, o.placed AS ts, r.refund FROM @orders o ASOF LEFT JOIN @refunds r ON o.uid = r.uid AND o.placed >= r.booked",
    ),
    "plans until the next one": (
        "SELECT o.uid, o.placed AS ts, p.plan FROM @orders o JOIN @plans p ON o.uid = p.uid AND p.since <= o.placed",
        "WITH v AS (SELECT *, LEAD(since) OVER (PARTITION BY uid ORDER BY since) AS upto FROM @plans) "
        "SELECT uid, since AS ts, plan, upto FROM v",
    ),
    "target encoding of earlier rows": (
        "SELECT uid, placed AS ts, AVG(amount) OVER (PARTITION BY cat ORDER BY placed RANGE BETWEEN UNBOUNDED PRECEDING AND "
        "INTERVAL 1 SECOND PRECEDING) AS v FROM @orders",
        "WITH m AS (SELECT cat, AVG(amount) AS v FROM @orders GROUP BY cat) SELECT o.uid, o.placed AS ts, m.v FROM @orders o "
        "JOIN m ON o.cat = m.cat",
    ),
    "rank in the month, at its end": (
        f"WITH m AS (SELECT uid, {_MONTH} AS ts, SUM(amount) AS s FROM @orders GROUP BY ALL) SELECT uid, ts, "
        "RANK() OVER (PARTITION BY ts ORDER BY s DESC) AS r FROM m",
        "SELECT uid, placed AS ts, RANK() OVER (PARTITION BY date_trunc('month', placed) ORDER BY amount DESC) AS r FROM @orders",
    ),
    "share of the month's turnover": (
        f"WITH m AS (SELECT uid, {_MONTH} AS ts, SUM(amount) AS s FROM @orders GROUP BY ALL) SELECT uid, ts, "
        "s / nullif(SUM(s) OVER (PARTITION BY ts), 0) AS share FROM m",
        f"WITH m AS (SELECT uid, {_MONTH} AS ts, SUM(amount) AS s FROM @orders GROUP BY ALL) SELECT uid, ts, "
        "s / nullif(SUM(s) OVER (), 0) AS share FROM m",
    ),
    "how many so far": (
        "SELECT uid, placed AS ts, COUNT(*) OVER (PARTITION BY uid ORDER BY placed) AS n FROM @orders",
        "SELECT o.uid, o.placed AS ts, (SELECT COUNT(*) FROM @orders b WHERE b.uid = o.uid) AS n FROM @orders o",
    ),
    "gap to the one before": (
        "SELECT uid, placed AS ts, epoch(placed - LAG(placed) OVER (PARTITION BY uid ORDER BY placed)) AS gap FROM @orders",
        "SELECT uid, placed AS ts, epoch(LEAD(placed) OVER (PARTITION BY uid ORDER BY placed) - placed) AS gap FROM @orders",
    ),
    "rolling z-score": (
        "SELECT uid, placed AS ts, amount - AVG(amount) OVER (PARTITION BY uid ORDER BY placed ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING) AS z FROM @orders",
        "SELECT uid, placed AS ts, amount - AVG(amount) OVER (PARTITION BY uid ORDER BY placed ROWS BETWEEN 3 PRECEDING AND 1 FOLLOWING) AS z FROM @orders",
    ),
    "last status of the day": (
        f"SELECT uid, {_DAYEND} AS ts, arg_max(cat, placed) AS cat FROM @orders GROUP BY ALL",
        "SELECT uid, MAX(placed) AS ts, arg_max(cat, placed) AS cat FROM @orders GROUP BY uid",
    ),
    "days with few orders": (
        f"SELECT uid, {_DAYEND} AS ts, COUNT(*) AS n FROM @orders GROUP BY ALL HAVING COUNT(*) < 3",
        "SELECT uid, MIN(placed) AS ts, arg_min(amount, placed) AS a FROM @orders GROUP BY uid HAVING COUNT(*) < 3",
    ),
    "no refund yet": (
        "SELECT o.uid, o.placed AS ts, o.amount FROM @orders o WHERE NOT EXISTS (FROM @refunds r WHERE r.uid = o.uid AND "
        "r.booked + INTERVAL 36 HOUR <= o.placed)",
        "SELECT o.uid, o.placed AS ts, o.amount FROM @orders o WHERE NOT EXISTS (FROM @refunds r WHERE r.uid = o.uid)",
    ),
    "never logged in before": (
        "SELECT o.uid, o.placed AS ts FROM @orders o ANTI JOIN @logins l ON l.uid = o.uid AND l.seen < o.placed",
        "SELECT o.uid, o.placed AS ts FROM @orders o LEFT JOIN @logins l ON l.uid = o.uid WHERE l.uid IS NULL",
    ),
    "refunds so far": (
        "SELECT o.uid, o.placed AS ts, (SELECT SUM(r.refund) FROM @refunds r WHERE r.uid = o.uid AND r.booked <= o.placed - INTERVAL 36 HOUR) AS s FROM @orders o",
        "SELECT o.uid, o.placed AS ts, (SELECT SUM(r.refund) FROM @refunds r WHERE r.oid = o.oid) AS s FROM @orders o",
    ),
    "country of the customer": (
        "SELECT o.uid, o.placed AS ts, p.country FROM @orders o LEFT JOIN @people p USING (uid)",
        "SELECT o.uid, o.placed AS ts, l.ok FROM @orders o LEFT JOIN @logins l USING (uid)",
    ),
    "orders of the country so far": (
        "SELECT o.uid, o.placed AS ts, COUNT(*) OVER (PARTITION BY p.country ORDER BY o.placed) AS n FROM @orders o JOIN @people p USING (uid)",
        "SELECT o.uid, o.placed AS ts, COUNT(*) OVER (PARTITION BY p.country) AS n FROM @orders o JOIN @people p USING (uid)",
    ),
    "big orders of the day by CASE": (
        f"SELECT uid, {_DAYEND} AS ts, SUM(CASE WHEN amount > 1 THEN 1 ELSE 0 END) AS n FROM @orders GROUP BY ALL",
        "SELECT uid, placed::DATE AS ts, SUM(CASE WHEN amount > 1 THEN 1 ELSE 0 END) AS n FROM @orders GROUP BY ALL",
    ),
    "orders and logins together": (
        "SELECT uid, placed AS ts, 'order' AS what FROM @orders UNION ALL SELECT uid, seen, 'login' FROM @logins",
        "SELECT uid, placed AS ts, 'order' AS what FROM @orders UNION ALL SELECT uid, booked, 'refund' FROM @refunds",
    ),
    "events so far over a union": (
        "WITH e AS (SELECT uid, placed AS t FROM @orders UNION ALL SELECT uid, seen FROM @logins) SELECT uid, t AS ts, "
        "COUNT(*) OVER (PARTITION BY uid ORDER BY t) AS n FROM e",
        "WITH e AS (SELECT uid, placed AS t FROM @orders UNION ALL SELECT uid, booked FROM @refunds) SELECT uid, t AS ts, "
        "COUNT(*) OVER (PARTITION BY uid ORDER BY t) AS n FROM e",
    ),
    "a day's pages, known when it is over": (
        "SELECT uid, day + INTERVAL 1 DAY AS ts, SUM(pages) AS p FROM @visits GROUP BY ALL",
        "SELECT uid, day::TIMESTAMP AS ts, SUM(pages) AS p FROM @visits GROUP BY ALL",
    ),
    "pages of earlier days": (
        "SELECT o.uid, o.placed AS ts, SUM(v.pages) AS p FROM @orders o LEFT JOIN @visits v ON v.uid = o.uid AND "
        "v.day + INTERVAL 1 DAY <= o.placed GROUP BY o.uid, o.placed",
        "SELECT o.uid, o.placed AS ts, SUM(v.pages) AS p FROM @orders o LEFT JOIN @visits v ON v.uid = o.uid AND "
        "v.day = o.placed::DATE GROUP BY o.uid, o.placed",
    ),
    "the first category ever": (
        "SELECT uid, placed AS ts, FIRST_VALUE(cat) OVER (PARTITION BY uid ORDER BY placed) AS c FROM @orders",
        "SELECT uid, placed AS ts, LAST_VALUE(cat) OVER (PARTITION BY uid ORDER BY placed ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS c FROM @orders",
    ),
    "the greatest until now": (
        "SELECT uid, placed AS ts, MAX(amount) OVER (PARTITION BY uid ORDER BY placed) AS m FROM @orders",
        "WITH m AS (SELECT uid, MAX(amount) AS m FROM @orders GROUP BY uid) SELECT o.uid, o.placed AS ts, m.m FROM @orders o JOIN m USING (uid)",
    ),
    "distance from the mean of the day, at its end": (
        f"WITH d AS (SELECT uid, {_DAYEND} AS ts, SUM(amount) AS s FROM @orders GROUP BY ALL) SELECT uid, ts, "
        "s - AVG(s) OVER (PARTITION BY ts) AS z FROM d",
        "SELECT uid, placed AS ts, amount - AVG(amount) OVER (PARTITION BY placed::DATE) AS z FROM @orders",
    ),
    "running mean of daily totals": (
        f"WITH d AS (SELECT uid, {_DAYEND} AS ts, SUM(amount) AS s FROM @orders GROUP BY ALL) SELECT uid, ts, "
        "AVG(s) OVER (PARTITION BY uid ORDER BY ts ROWS BETWEEN 6 PRECEDING AND CURRENT ROW) AS a FROM d",
        "WITH d AS (SELECT uid, date_trunc('day', placed) AS ts, SUM(amount) AS s FROM @orders GROUP BY ALL) SELECT uid, ts, "
        "AVG(s) OVER (PARTITION BY uid ORDER BY ts ROWS BETWEEN 6 PRECEDING AND CURRENT ROW) AS a FROM d",
    ),
    "categories of the week": (
        "SELECT uid, date_trunc('week', placed) + INTERVAL 7 DAY AS ts, COUNT(DISTINCT cat) AS n FROM @orders GROUP BY ALL",
        "SELECT uid, date_trunc('week', placed) + INTERVAL 1 DAY AS ts, COUNT(DISTINCT cat) AS n FROM @orders GROUP BY ALL",
    ),
    "one row per customer and day": (
        f"SELECT DISTINCT uid, {_DAYEND} AS ts FROM @orders",
        "SELECT DISTINCT uid, date_trunc('day', placed) AS ts FROM @orders",
    ),
    "one row for an order": (
        "SELECT DISTINCT ON (oid) uid, oid, placed AS ts, amount FROM @orders ORDER BY oid, placed",
        "SELECT DISTINCT ON (oid) uid, oid, placed AS ts, amount FROM @orders ORDER BY oid, placed DESC",
    ),
    "who refunded an earlier order": (
        "SELECT o.uid, o.placed AS ts, o.amount FROM @orders o WHERE EXISTS (FROM @refunds r WHERE r.uid = o.uid AND r.booked + INTERVAL 2 DAY < o.placed)",
        "SELECT o.uid, o.placed AS ts, o.amount FROM @orders o WHERE o.uid IN (SELECT r.uid FROM @refunds r)",
    ),
    "pairs of orders": (
        "SELECT a.uid, a.placed AS ts, a.amount - b.amount AS d FROM @orders a JOIN @orders b ON a.uid = b.uid AND b.placed < a.placed",
        "SELECT a.uid, a.placed AS ts, a.amount - b.amount AS d FROM @orders a JOIN @orders b ON a.uid = b.uid AND b.oid < a.oid",
    ),
    "orders a second later": (
        "SELECT uid, placed + INTERVAL 1 SECOND AS ts, amount FROM @orders",
        "SELECT uid, placed - INTERVAL 1 SECOND AS ts, amount FROM @orders",
    ),
    "share of failed logins so far": (
        "SELECT uid, seen AS ts, AVG(CASE WHEN ok = 0 THEN 1 ELSE 0 END) OVER (PARTITION BY uid ORDER BY seen) AS s FROM @logins",
        "SELECT l.uid, l.seen AS ts, a.s FROM @logins l JOIN (SELECT uid, AVG(CASE WHEN ok = 0 THEN 1 ELSE 0 END) AS s FROM @logins GROUP BY uid) a ON a.uid = l.uid",
    ),
    "customers by their number of orders": (
        f"WITH c AS (SELECT uid, {_MONTH} AS ts, COUNT(*) AS n FROM @orders GROUP BY ALL) SELECT n AS uid, ts, COUNT(*) AS people FROM c GROUP BY n, ts",
        "WITH c AS (SELECT uid, date_trunc('month', placed) + INTERVAL 3 DAY AS ts, COUNT(*) AS n FROM @orders GROUP BY ALL) "
        "SELECT n AS uid, ts, COUNT(*) AS people FROM c GROUP BY n, ts",
    ),
    "a month by its text": (
        "SELECT uid, strptime(strftime(placed, '%Y-%m'), '%Y-%m') + INTERVAL 1 MONTH AS ts, SUM(amount) AS s FROM @orders GROUP BY ALL",
        "SELECT uid, strptime(strftime(placed, '%Y-%m'), '%Y-%m') + INTERVAL 1 DAY AS ts, SUM(amount) AS s FROM @orders GROUP BY ALL",
    ),
    "the year by its parts": (
        "SELECT uid, make_timestamp(year(placed) + 1, 1, 1, 0, 0, 0.0) AS ts, SUM(amount) AS s FROM @orders GROUP BY ALL",
        "SELECT uid, make_timestamp(year(placed), 1, 1, 0, 0, 0.0) AS ts, SUM(amount) AS s FROM @orders GROUP BY ALL",
    ),
}
