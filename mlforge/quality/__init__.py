"""Checks and statistics of features, as SQL that an engine runs; writing the results is the catalog's work."""

from mlforge.quality.checks import assign_sides, run_checks
from mlforge.quality.stats import collect_stats

__all__ = ["assign_sides", "collect_stats", "run_checks"]
