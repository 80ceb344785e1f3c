"""The crypto platform as Deployments of the sandbox's own Kubernetes.

Its pods share the network of their node, and every port that they listen on is mirrored on this machine's loopback: an
address means the same within as without, so that nothing else of the platform, of its faults and of what looks at it
has to know where it runs.
"""
