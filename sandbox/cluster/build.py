"""Build Kubernetes once from Debian's source package, into a cache that every sandbox of this user shares."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox.cluster import packages
from sandbox.cluster.steps import Steps

__all__ = ["VERSION", "Built", "build", "built", "cache"]

VERSION = "1.20.2"
_RECIPE = 1  # raised whenever what follows builds something else, so that an old cache is not taken for it
_FILES = Path(__file__).parent / "files"

_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
_BINARIES = (
    "busybox-static",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "etcd-server",
    "iptables",
    "kubernetes-client",
    "libip4tc2",
    "libip6tc2",
    "libmnl0",
    "libnetfilter-conntrack3",
    "libnfnetlink0",
    "libnftnl11",
    "libxtables12",
    "runc",
)
_COMPILER = ("golang-1.19-go", "golang-1.19-src")
_IPTABLES = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")
_TREE = "k8s.io/kubernetes"


@dataclass(frozen=True)
class Built:
    """A finished build.

    Attributes
    ----------
    folder : Path
        `bin/` holds what was compiled, `root/` what Debian's packages hold, `pause` is the first process of pods.
    """

    folder: Path

    @property
    def programs(self) -> str:
        """Search path of its programs, in front of the machine's own."""
        root = self.folder / "root"
        own = [self.folder / "bin", root / "usr/bin", root / "usr/sbin", root / "bin"]
        return ":".join([*map(str, own), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"])

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which its programs find each other and their libraries."""
        libraries = self.folder / "root/usr/lib/x86_64-linux-gnu"
        return {
            "PATH": self.programs,
            "LD_LIBRARY_PATH": str(libraries),
            "XTABLES_LIBDIR": str(libraries / "xtables"),
        }


def cache() -> Path:
    """Folder of the builds: `$XDG_CACHE_HOME/runbooks`, by default `~/.cache/runbooks`."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if given.startswith("/") else Path.home() / ".cache") / "runbooks"


def built() -> Built | None:
    """The finished build of this version, or None."""
    folder = cache() / f"kubernetes-{VERSION}-{_RECIPE}"
    return Built(folder) if (folder / "built.json").is_file() else None


def build(progress: Callable[[str], None]) -> Built:
    """Return the finished build; make it first where there is none, in minutes.

    A build appears in the cache whole or not at all; what a dead one left is removed and begun again.

    Raises
    ------
    BuildFailed
        Which step, and the end of its log.
    """
    if (ready := built()) is not None:
        return ready
    folder = cache()
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / "kubernetes.lock", progress):
        if (ready := built()) is not None:
            return ready
        for leftover in folder.glob("kubernetes-*.partial"):
            shutil.rmtree(leftover)
        partial = folder / f"kubernetes-{VERSION}-{_RECIPE}.partial"
        work = partial / "work"
        work.mkdir(parents=True)
        try:
            _make(partial, Steps(work, folder / "build.log", progress))
        except BaseException:
            shutil.rmtree(partial)
            raise
        shutil.rmtree(work)
        partial.rename(folder / f"kubernetes-{VERSION}-{_RECIPE}")
    return Built(folder / f"kubernetes-{VERSION}-{_RECIPE}")


def _make(target: Path, steps: Steps) -> None:
    began = time.monotonic()
    sources = packages.Sources.prepare(steps)
    sources.download([*_BINARIES, *_COMPILER])
    kubernetes = sources.source("kubernetes")
    steps.say("unpacking")
    for package in _COMPILER:
        sources.unpack(package, steps.work / "go")
    for package in _BINARIES:
        sources.unpack(package, target / "root")
    _compile(target, kubernetes, steps)
    for name in _IPTABLES:
        link = target / "root/usr/sbin" / name
        link.unlink(missing_ok=True)
        link.symlink_to("xtables-nft-multi")
    for unneeded in ("doc", "man", "lintian", "bash-completion", "locale"):
        shutil.rmtree(target / "root/usr/share" / unneeded, ignore_errors=True)
    facts = {"kubernetes": VERSION, "packages": sources.versions(), "took_s": round(time.monotonic() - began)}
    (target / "built.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    steps.say(f"built in {facts['took_s']} s, kept in {target.with_suffix('')}")


def _compile(target: Path, source: Path, steps: Steps) -> None:
    """Compile the five servers, and the pods' first process."""
    gopath = steps.work / "gopath"
    tree = gopath / "src" / _TREE
    tree.parent.mkdir(parents=True)
    tree.symlink_to(source)
    goroot = next((steps.work / "go/usr/lib").glob("go-*"))
    environment = {
        "PATH": f"{goroot / 'bin'}:{os.environ.get('PATH', os.defpath)}",
        "PWD": str(tree),  # a link; Go finds the packages only by this path of it
        "HOME": str(steps.work),
        "TMPDIR": str(steps.work),
        "GOROOT": str(goroot),
        "GOPATH": str(gopath),
        "GOCACHE": str(steps.work / "gocache"),
        "GO111MODULE": "off",  # the source package builds in a GOPATH alone
        "CGO_ENABLED": "0",
    }
    # Debian's tarball leaves the generated OpenAPI definitions out.
    generator = steps.work / "openapi-gen"
    steps.run(
        "compiling the generator of API definitions",
        ["go", "build", "-o", generator, "./vendor/k8s.io/kube-openapi/cmd/openapi-gen"],
        folder=tree,
        environment=environment,
    )
    steps.run(
        "generating API definitions",
        [
            *(generator, "--logtostderr", "-i", ",".join(_described(source)), "-p", f"{_TREE}/pkg/generated/openapi"),
            *("-O", "zz_generated.openapi", "-r", steps.work / "violations"),
            *("-h", "vendor/k8s.io/code-generator/hack/boilerplate.go.txt"),
        ],
        folder=tree,
        environment=environment,
    )
    stamps = {"gitVersion": f"v{VERSION}", "gitMajor": "1", "gitMinor": "20", "gitTreeState": "clean"}
    flags = ["-s", "-w"]
    for package in ("component-base/version", "client-go/pkg/version"):
        flags += [f"-X {_TREE}/vendor/k8s.io/{package}.{name}={value}" for name, value in stamps.items()]
    command = ["go", "build", "-v", "-trimpath", "-tags", "providerless,dockerless", "-ldflags", " ".join(flags)]
    binaries = target / "bin"
    binaries.mkdir()
    steps.run(
        "compiling Kubernetes",
        [*command, "-o", f"{binaries}/", *[f"./cmd/{name}" for name in _PROGRAMS]],
        folder=tree,
        environment=environment,
        lines=1960,
    )
    steps.run(
        "compiling the pods' first process",
        ["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", target / "pause", _FILES / "pause.go"],
        folder=tree,
        environment=environment,
    )


def _described(source: Path) -> list[str]:
    """Packages whose types the API definitions describe."""
    found = set()
    for top in ("pkg", "plugin", "cmd", "staging/src/k8s.io"):
        for path in (source / top).rglob("*.go"):
            name = str(path.relative_to(source))
            unwanted = ("_test.go", "/testdata/", "/code-generator/", "/sample-apiserver/", "zz_generated")
            if any(part in name for part in unwanted) or b"+k8s:openapi-gen=" not in path.read_bytes():
                continue
            package = str(path.parent.relative_to(source)).replace("staging/src/", "vendor/", 1)
            found.add(f"{_TREE}/{package}")
    return sorted(found)


@contextmanager
def _alone(path: Path, progress: Callable[[str], None]) -> Iterator[None]:
    """Keep a second build waiting; the kernel releases the lock of a dead one."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("Kubernetes is being built by another command; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
