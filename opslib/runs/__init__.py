"""Runs: the catalogue of runbooks, their parameters, papermill's engine, confined kernels, queue and worker."""
