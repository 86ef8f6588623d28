"""What Kubernetes' own objects and calls look like, where this service reads or answers them."""
