"""Engines that store and compute. DuckDB is the first."""
