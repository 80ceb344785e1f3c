"""What a process loads before it is forked, so that a fork has it at once.

Only loading: no thread, no connection, no event loop, no zmq context may come to be here, since none survives a fork.
"""

# nbformat has no annotations.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import ast
import contextlib
import ctypes
import gc
import importlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

_KERNEL = (
    "opslib.runs.kernel_app",
    "IPython.core.completer",
    "comm",
    "ipykernel.zmqshell",
    "matplotlib.pyplot",
    "matplotlib_inline.backend_inline",
    "numpy",
    "opslib",
    "opslib.ops",
    "pandas",
)
_RUN = ("opslib.actions.plans", "opslib.record.seal", "opslib.runs.run", "papermill", "zmq")
_REHEARSAL = (
    "import matplotlib.pyplot as plt, pandas as pd\n"
    "frame = pd.DataFrame({'a': [1.0, 2.0]}, index=pd.date_range('2026-01-01', periods=2, tz='UTC'))\n"
    "display(frame, frame.describe(), frame.style)\n"
    "frame.plot(); plt.legend(); plt.show()\n",
    "1 / 0",
)
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABXvMqOgAAAABJRU5ErkJggg=="
_SHOWN = (
    {"output_type": "stream", "name": "stdout", "text": "a\n"},
    {"output_type": "error", "ename": "E", "evalue": "e", "traceback": ["\x1b[31mE\x1b[0m: e"]},
    *(
        {"output_type": "display_data", "metadata": {}, "data": {kind: text}}
        for kind, text in (
            ("text/html", "<table class='dataframe'><tr><td style='color: red'>1</td></tr></table>"),
            ("text/markdown", "**a** `b`"),
            ("text/plain", "a"),
            ("image/png", _PIXEL),
        )
    ),
)


def kernel(notebooks: Path | None = None) -> None:
    """All that a kernel needs before its first cell, and that the cells of the runbooks import.

    Parameters
    ----------
    notebooks : Path, optional
        The folder of the runbooks.
    """
    sys.modules.setdefault("coverage", None)  # type: ignore[arg-type]  # numba would load it wherever it is installed
    _load(_KERNEL)
    if notebooks is not None:
        _load(imports(notebooks.glob("*/*.ipynb")))
    if importlib.util.find_spec("engine") is not None:
        engine = importlib.import_module("engine")
        if hasattr(engine, "warm"):
            engine.warm()
    _load(_rehearsed())
    _show_whole_tables()
    _draw()
    if sys.modules["coverage"] is None:
        del sys.modules["coverage"]
    _settle()


def run() -> None:
    """All that the process of a run needs."""
    _load(_RUN)
    _write_record()
    _settle()


def _write_record() -> None:
    """Read and show a record once, so that schemas, templates and lexers are compiled; thrown away."""
    from opslib.runs import html
    from opslib.runs.formats import nbformat, v4

    cells = [
        v4.new_markdown_cell("# A\n\n- *b*, [c](#c), `d`\n\n| e |\n|---|\n| 1 |"),
        v4.new_code_cell(
            "import a\nb = [a.c(f'{1:.2f}'), 'd']  # e",
            outputs=[nbformat.from_dict(one) for one in _SHOWN],
            execution_count=1,
        ),
    ]
    text = nbformat.writes(v4.new_notebook(cells=cells))
    html.render(nbformat.reads(text, as_version=4))


def imports(notebooks: Iterable[Path]) -> list[str]:
    """The modules that the code cells of notebooks import; cells that are no Python are passed over."""
    found: dict[str, None] = {}
    for path in notebooks:
        try:
            cells = json.loads(path.read_text("utf-8"))["cells"]
            sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        for source in sources:
            try:
                nodes = list(ast.walk(ast.parse(source)))
            except SyntaxError:
                continue
            for node in nodes:
                if isinstance(node, ast.Import):
                    found |= dict.fromkeys(name.name for name in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found |= dict.fromkeys([node.module, *(f"{node.module}.{name.name}" for name in node.names)])
    return list(found)


def _load(names: Iterable[str]) -> None:
    """Import what can be imported; the rest fails where it is needed, with its own message."""
    for name in names:
        try:
            importlib.import_module(name)
        except Exception:  # noqa: S112 - whatever a module raises, the cell that wants it shall show it
            continue


def _rehearsed() -> list[str]:
    """The modules that cells load when they run: learned from a fork that runs some, and ends."""
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        _rehearse(heard, told)
    os.close(told)
    with os.fdopen(heard, "rb") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return list(json.loads(text or b"[]"))


def _rehearse(heard: int, told: int) -> None:
    """Run the cells of the rehearsal in a kernel, and tell which modules that loaded; does not return."""
    from opslib.runs import kernels

    folder = kernels.new_folder(Path(tempfile.gettempdir()))
    try:
        os.close(heard)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        before = set(sys.modules)
        os.environ["IPYTHONDIR"] = str(folder / "work")
        app = importlib.import_module("opslib.runs.kernel_app").KernelApp.made(folder / "connection.json")
        app.shell.enable_matplotlib("inline")
        for source in _REHEARSAL:
            app.shell.run_cell(source, store_history=False)
        names = [name for name in sys.modules if name not in before and not name.startswith(("__main__", "_pydev"))]
        with os.fdopen(told, "wb") as pipe:
            pipe.write(json.dumps(names).encode())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)


def _show_whole_tables() -> None:
    """Have pandas show tables as in a notebook: it was imported where there is none, and took this for a terminal."""
    import pandas as pd

    pd.set_option("display.max_columns", 20)


def _draw() -> None:
    """Draw and show once, so that fonts, locators and table styles are there; thrown away."""
    import io

    import pandas as pd
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    times = pd.date_range("2026-01-01", periods=3, freq="min", tz="UTC")
    figure = Figure(figsize=(7.0, 3.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(times, [1.0, 3.0, 2.0], label="a")
    axes.axhline(2.0, linestyle="--", label="b")
    axes.annotate("c", (times[1], 2.0))
    axes.set_ylabel("VaR [% of NAV]")
    axes.legend()
    figure.savefig(io.BytesIO(), format="png", bbox_inches="tight")
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0]}, index=times)
    frame.round(2)._repr_html_()
    repr(frame)


def _settle() -> None:
    """Nothing of what was loaded is looked at by the collector again, which would copy it into every fork.

    What loading has freed goes back to the system, where its C library can do that.
    """
    gc.collect()
    gc.freeze()
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
