"""Proof that no row of a feature holds, or hides, anything that was not known at its own time.

Leak-free means: for every instant T, the rows of the feature's query stamped (plus its ``delay``) at or before T are
the same over the source rows known by T as over all of them, none more and none fewer. ``settled`` proves it from the
SQL alone; ``seen`` gives each row the instant from which it is known, and the build compares; what neither can do is
unproven."""
