"""The terminal edge: commands, tables, progress and the one handler of errors."""
