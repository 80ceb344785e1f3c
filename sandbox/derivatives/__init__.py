"""The derivatives platform in a box: an API that computes Greeks, its stores, its market, its hedger, on Kubernetes."""
