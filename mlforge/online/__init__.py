"""The online store: a feature's values by key, read in about a millisecond and equal to what a training set holds.

base.py       what a store must do: read many names at once, swap values if nobody else did, list names
records.py    what lies under one name: a value and the one it replaces, each with the generation that wrote it
sqlite.py, redis.py   the stores"""
