"""Images are small, the same each time, and carry every name they are given."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from sandbox.cluster.images import full_name, host_image
from sandbox.cluster.pods import environment, mounts, python, volumes


def manifest(path: Path) -> tuple[dict[str, object], dict[str, object], list[str]]:
    """Manifest, configuration and paths of an image."""
    with tarfile.open(path) as archive:

        def read(name: str) -> bytes:
            member = archive.extractfile(name)
            assert member is not None
            return member.read()

        described = json.loads(read("manifest.json"))[0]
        with tarfile.open(fileobj=archive.extractfile(described["Layers"][0])) as layer:
            return described, json.loads(read(described["Config"])), layer.getnames()


def test_the_same_input_gives_the_same_image(tmp_path: Path) -> None:
    for name in ("one", "two"):
        host_image(tmp_path / name, ["runbooks/api:v1"], files={"app/version": b"1"})
    host_image(tmp_path / "three", ["runbooks/api:v1"], files={"app/version": b"2"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert manifest(tmp_path / "one")[0]["Layers"] != manifest(tmp_path / "three")[0]["Layers"]
    assert (tmp_path / "one").stat().st_size < 100_000


def test_an_image_has_all_its_names_files_and_variables(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    names = ["runbooks/api:v1.0.0", "registry.example:5000/api:v1"]
    host_image(path, names, files={"app/lib/version": b"1"}, environment={"VERSION": "v1"}, command=["/bin/true"])
    described, configuration, paths = manifest(path)
    assert described["RepoTags"] == ["docker.io/runbooks/api:v1.0.0", "registry.example:5000/api:v1"]
    assert configuration["config"]["Cmd"] == ["/bin/true"]
    assert "VERSION=v1" in configuration["config"]["Env"]
    assert {"app", "app/lib", "app/lib/version", "usr", "lib", "etc/passwd"} <= set(paths)
    assert len(paths) == len(set(paths))


def test_a_name_without_a_registry_means_the_usual_one() -> None:
    assert full_name("redis:6") == "docker.io/library/redis:6"
    assert full_name("localhost/redis:6") == "localhost/redis:6"


def test_what_is_mounted_is_what_a_volume_holds_and_no_secret() -> None:
    paths = {one["name"]: one["hostPath"]["path"] for one in volumes(["/opt/more"])}
    assert {one["name"]: one["mountPath"] for one in mounts(["/opt/more"])} == paths
    assert all(one["readOnly"] for one in mounts())
    assert all(len(name) <= 63 for name in paths)
    assert any(python()[0].startswith(f"{path}/") for path in paths.values())
    assert not any(path.endswith(("/outputs", "/params", "/root")) for path in paths.values())
    variables = {one["name"]: one["value"] for one in environment(PATH="/bin", MORE="x")}
    assert (variables["PATH"], variables["MORE"]) == ("/bin", "x")
