CREATE TABLE t AS
SELECT *
FROM (VALUES
    (1, 'apple', TIMESTAMP '2024-03-15 13:45:30.123456', DATE '2024-02-29', [3, 1, 2], {'a': 1, 'b': {'c': 'z'}},
     '{"k":[1,{"m":2}],"s":"hi"}'::JSON, 1.5::DECIMAL(10, 2), 2.5::DOUBLE, true, MAP {'x': 1, 'y': 2}, INTERVAL '3 days'),
    (2, 'Banana', TIMESTAMP '2024-12-31 23:59:59', DATE '2023-12-31', [], {'a': 2, 'b': {'c': 'y'}},
     '{"k":[5]}'::JSON, -7.25::DECIMAL(10, 2), -3.7::DOUBLE, false, MAP {'x': 5}, INTERVAL '1 month'),
    (-3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (7, 'a_b%c', TIMESTAMP '2020-01-06 00:00:00', DATE '2020-01-06', [NULL, 5, 5], {'a': NULL, 'b': {'c': NULL}},
     '[1,2]'::JSON, 0.00::DECIMAL(10, 2), 'nan'::DOUBLE, true, MAP {}, INTERVAL '2 hours')
) AS v(i, s, ts, d, l, st, j, dec, f, b, m, iv)
