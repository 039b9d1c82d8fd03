"""What a monitoring system reads: Prometheus metrics by HTTP."""
