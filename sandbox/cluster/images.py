"""Images without a registry: small archives, written here and imported into the nodes."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["HOST", "full_name", "host_image", "pause_image", "write_image"]

HOST = "docker.io/runbooks/host:1"

_FOLDERS = ("dev", "etc", "etc/alternatives", "proc", "root", "run", "sys", "usr", "var", "var/lib")
_LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64", "var/run": "../run"}
_FILES = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files dns\n",
}


def write_image(
    path: Path,
    names: Sequence[str],
    files: Mapping[str, tuple[bytes, int]],
    *,
    folders: Sequence[str] = (),
    links: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] = (),
) -> None:
    """Write an image of one layer as an archive that `ctr images import` reads; the same input gives the same image.

    Parameters
    ----------
    path : Path
    names : sequence of str
        Every name and tag that it gets, for example `runbooks/derivatives:v1.1.0`.
    files : mapping
        Path inside the image to content and mode.
    folders, links : sequence of str, mapping
        Folders, and links with where they point.
    environment : mapping, optional
    command : sequence of str
        What runs where the pod says nothing else.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for folder in folders:
            _add(layer, folder, tarfile.DIRTYPE, 0o755)
        for folder in ("tmp", "var/tmp") if "var" in folders else ("tmp",):
            _add(layer, folder, tarfile.DIRTYPE, 0o1777)
        for name, (content, mode) in files.items():
            _add(layer, name, tarfile.REGTYPE, mode, content)
        for name, target in (links or {}).items():
            _add(layer, name, tarfile.SYMTYPE, 0o777, link=target)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    variables = {"PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin", **(environment or {})}
    configuration = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": [f"{name}={value}" for name, value in variables.items()], "Cmd": list(command)},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    identity = hashlib.sha256(configuration).hexdigest()
    manifest = [
        {
            "Config": f"{identity}.json",
            "RepoTags": [full_name(name) for name in names],
            "Layers": [f"{digest}/layer.tar"],
        }
    ]
    with tarfile.open(path, "w") as archive:
        _add(archive, f"{identity}.json", tarfile.REGTYPE, 0o644, configuration)
        _add(archive, f"{digest}/layer.tar", tarfile.REGTYPE, 0o644, content)
        _add(archive, "manifest.json", tarfile.REGTYPE, 0o644, json.dumps(manifest).encode())


def pause_image(path: Path, name: str, program: Path) -> None:
    """Write the image of the process that holds a pod's namespaces."""
    write_image(path, [name], {"pause": (program.read_bytes(), 0o755)}, command=["/pause"])


def host_image(
    path: Path,
    names: Sequence[str],
    *,
    files: Mapping[str, bytes] | None = None,
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] = ("/bin/sh",),
) -> None:
    """Write an image that runs what the machine has, through the read-only mounts of `sandbox.cluster.pods`.

    Parameters
    ----------
    path : Path
    names : sequence of str
    files : mapping, optional
        More files: path inside the image to content. They make one version differ from another.
    environment : mapping, optional
    command : sequence of str
    """
    own = {**_FILES, **(files or {})}
    write_image(
        path,
        names,
        {name: (content, 0o644) for name, content in own.items()},
        folders=_with_parents([*_FOLDERS, *(str(Path(name).parent) for name in own)]),
        links=_LINKS,
        environment=environment,
        command=command,
    )


def full_name(name: str) -> str:
    """An image's name as containerd keeps it: with the registry that is meant where none is named."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"


def _with_parents(folders: Sequence[str]) -> list[str]:
    every = {str(path) for folder in folders for path in (Path(folder), *Path(folder).parents)}
    return sorted(every - {"."})


def _add(archive: tarfile.TarFile, name: str, kind: bytes, mode: int, content: bytes = b"", link: str = "") -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.size, entry.linkname = kind, mode, len(content), link
    archive.addfile(entry, io.BytesIO(content))
