"""Benchmarks: each peer, befit and the physical limit, interleaved in one run; `make bench WHAT=imports`."""
