"""Everything the `mlforge` schema of a catalog holds: reading, writing, committing, migrating."""
