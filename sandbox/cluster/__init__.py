"""A real Kubernetes on this machine, of two nodes, in namespaces of its own; or one of the user's."""

from sandbox.cluster.cluster import Cluster
from sandbox.cluster.lifecycle import down, find, up
from sandbox.cluster.requirements import missing

__all__ = ["Cluster", "down", "find", "missing", "up"]
