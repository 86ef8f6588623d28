"""kubemint: short-lived Kubernetes client certificates, by policy, on the record."""
