"""Online stores: bytes under names, which several processes read while one writes.

store.py      what a store must do: read many names at once, swap values if nobody else did, list names
opening.py    which store settings or an address mean
sqlite.py, redis.py, cluster.py, dynamodb.py   the stores
resp.py       Redis's protocol; slots.py: which node of a cluster has which name; redis_errors.py: what it refuses
"""
