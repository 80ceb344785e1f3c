"""Benchmarks: ours beside a peer, same machine, same run. Each is `python -m bench.NAME [--json]`."""
