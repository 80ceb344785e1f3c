"""The library nbformat, imported without what it does not need: every run waits for this import.

nbformat imports jsonschema, which builds a grammar of international web addresses (1.5 s) when `rfc3987_syntax` is
installed, as it is with JupyterLab. Notebooks hold none of those, and jsonschema does without it.
"""

from __future__ import annotations

import sys

_SLOW = "rfc3987_syntax"
_absent = _SLOW not in sys.modules
if _absent:
    sys.modules[_SLOW] = None  # type: ignore[assignment]  # an import of it fails, as if it were not installed
try:
    import nbformat
    from nbformat import NotebookNode, v4
    from nbformat.v4 import rwbase
finally:
    if _absent:
        del sys.modules[_SLOW]

__all__ = ["NotebookNode", "nbformat", "rwbase", "v4"]
