"""Side-by-side measurements: every gate is a ratio between us and a peer in the same run (``python -m benchmarks``)."""
