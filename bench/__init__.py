"""The benchmark: certificates per second beside another CA's, measured in one run (see README.md)."""
