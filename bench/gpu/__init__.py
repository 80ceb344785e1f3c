"""Figures of an NVIDIA card: `python -m bench.gpu [--json]`, on a machine that has one."""
