"""Benchmarks, as ratios to peers: `make bench` and `make bench-keys`."""
