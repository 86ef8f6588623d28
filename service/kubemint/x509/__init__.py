"""X.509 as Kubernetes reads it: what may come in, what goes out, and the check in between."""
