"""SQL that mlforge writes: templates, quoting, and the physical plan of a feature."""
