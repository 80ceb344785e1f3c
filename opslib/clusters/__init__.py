"""Kubernetes clusters: one connection for probes and actions, what its objects say, and the rights that are needed."""

from opslib.clusters.client import Address, Cluster, connect

__all__ = ["Address", "Cluster", "connect"]
