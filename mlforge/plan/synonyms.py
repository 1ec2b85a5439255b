"""Functions that DuckDB has under several names."""

from __future__ import annotations

from mlforge.render.functions import SYNONYMS

#: Synonyms beside those of aggregates: DuckDB's primary name (``alias_of`` in ``duckdb_functions()``), then the others.
SCALARS = """
ceil ceiling | date_diff datediff | date_part datepart | date_sub datesub | date_trunc datetrunc | instr strpos
length len char_length character_length | lower lcase | upper ucase | power pow | substring substr | suffix ends_with
string_split split str_split string_to_array | list_concat list_cat array_concat array_cat
list_contains list_has array_has array_contains | list_distinct array_distinct | list_slice array_slice
list_position list_indexof array_position array_indexof | list_sort array_sort | list_unique array_unique
list_transform array_transform
"""
_GROUPS = [group.split() for line in SCALARS.strip().splitlines() for group in line.split("|")]
_FOLDED = {**SYNONYMS, **{other: primary for primary, *others in _GROUPS for other in others}}


def fold(name: str) -> str:
    """DuckDB's primary name of a function, lower case."""
    lower = name.lower()
    return _FOLDED.get(lower, lower)
