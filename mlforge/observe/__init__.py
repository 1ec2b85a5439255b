"""What a project's data do over time: how old they are, and how late they come."""
