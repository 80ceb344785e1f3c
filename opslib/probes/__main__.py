"""`python -m opslib.probes` prints docs/probes.md: every probe with its arguments and what it answers."""

from __future__ import annotations

import inspect
import re

from opslib.probes import registry

HEAD = """# Probes

What a notebook can look at, as `ops.SYSTEM.PROBE(...)`. Every probe reads under a read-only identity, within a time and
a size, and leaves a piece of evidence. A table is a pandas DataFrame whose `.attrs["evidence"]` is the id of its
evidence, and whose `.attrs["note"]` says what of it could not be seen; anything else knows its `.evidence`. What cannot
be seen at all raises `ProbeError`; `ops.look(WHAT, PROBE, ...)` says so and goes on.

Endpoints of a platform are named as the systems; `http` and `certificates` ask `api` unless `system=` names another.
PostgreSQL: the recorder's role needs `CONNECT`, `pg_monitor` (without it, what is not shown is said) and `SELECT` on
what free SQL shall read; a role that may do more than read runs no free SQL. The applier's role (`postgres_admin`)
owns the tables it maintains, has `pg_signal_backend`, and is a superuser where settings are to be changed.
This page is printed by `python -m opslib.probes`.
"""


def page() -> str:
    """The page, in Markdown."""
    parts, system = [HEAD], ""
    for name in registry.names():
        if name.partition(".")[0] != system:
            system = name.partition(".")[0]
            parts.append(f"\n## {system}\n")
        found = registry.find(name).function
        arguments = ", ".join(map(_argument, list(inspect.signature(found).parameters.values())[1:]))
        parts.append(f"\n### `{name}({arguments})`\n\n{_told(inspect.getdoc(found) or '')}\n")
    return "".join(parts)


def _argument(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return parameter.name
    return f"{parameter.name}={parameter.default!r}"


def _told(doc: str) -> str:
    """A docstring as Markdown: its sections as paragraphs, its parameters as a list."""
    doc = re.sub(r"^Parameters\n-+\n", "", doc, flags=re.MULTILINE)
    doc = re.sub(r"^Returns\n-+\n", "Answers a ", doc, flags=re.MULTILINE)
    doc = re.sub(r"^Raises\n-+\n", "May fail with ", doc, flags=re.MULTILINE)
    lines = [line for line in doc.splitlines() if line.strip() != "target : Target"]
    listed = [re.sub(r"^([\w, ]+) : (.+)$", r"- `\1` (\2)", line) for line in lines]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(re.sub(r"^ {4}", "  ", line) for line in listed)).strip()


if __name__ == "__main__":
    print(page(), end="")
