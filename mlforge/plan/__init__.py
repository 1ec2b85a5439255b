"""From what the project says and what the catalog holds to what a build does. Values in, values out."""
