"""The proof that nothing leaks: features recomputed from sources that are cut at each label's time, by plain SQL."""
