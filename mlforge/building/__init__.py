"""Building: features compiled against their sources, a plan's steps run in a staging file, and the commit."""
