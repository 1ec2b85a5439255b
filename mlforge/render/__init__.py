"""From the text of one feature to checked SQL: Jinja, grammar, names, leakage, lineage."""
