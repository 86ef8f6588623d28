"""The mathematics of a log that nobody can change unnoticed: hashes, and what will be built on them."""
