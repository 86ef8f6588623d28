"""The command line and the HTTP client for those who ask. Knows the API, and nothing of the service's insides."""
