"""Catalog to online store: only what changed, visible all at once.

selection.py   what is asked for; left_out.py: what cannot be published
layout.py      how one version of a feature is stored; compiling.py: ``as_of()`` in a select list
points.py      the instants at which a key's values change, and the values there, by SQL from the catalog
run.py         a publish from end to end; writing.py: how values get there, cleaning.py: what they replaced
recording.py   what the catalog keeps of publishes
"""
