"""JupyterLab with the runbooks: working copies, a kernelspec, and a run on the record for every kernel."""
