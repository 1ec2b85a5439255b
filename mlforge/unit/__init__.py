"""Unit tests of features: rows given in YAML, built in memory as a build would, compared with what is expected."""
