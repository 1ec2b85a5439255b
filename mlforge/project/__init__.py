"""The user's files: configuration, features, macros, and the starter project."""
