"""A brute-force statement of what features mean, and the machinery that holds mlforge against it."""
