"""The service `derivatives-api`: one process a pod, `python -m sandbox.derivatives.service`."""
