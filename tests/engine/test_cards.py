"""Every kernel for a card, compiled without one: what it needs of the card, and that nothing is spilled."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import engine

pytestmark = pytest.mark.slow

ROOT = Path(engine.__file__).resolve().parents[1]
WHEEL = Path(sysconfig.get_path("purelib")) / "nvidia" / "cuda_nvcc"
COMPILED = """
import json
from types import SimpleNamespace
import numba.cuda.dispatcher
from numba import cuda, float64, int64, types, uint64
# functions of a card ask for the card; there is none where this runs
numba.cuda.dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=(9, 0))
from engine.pricing import _cuda, _heston_cuda, _simulation_cuda
from engine.risk import _revaluation_cuda
from engine.validation import _overfitting_cuda

flat, row, deep, places = float64[:, ::1], float64[::1], float64[:, :, ::1], int64[:, ::1]
# what is kept between calls cannot be written to, and has a type of its own
words = types.Array(uint64, 2, "C", readonly=True)
signatures = {
    "european": (flat, flat),
    "european_rest": (flat, flat, int64[::1]),
    "implied": (flat, flat),
    "implied_rest": (flat, flat, int64[::1]),
    "heston_integrals": (flat, int64, flat),
    "pseudo": (flat, uint64, uint64, uint64),
    "sobol": (flat, uint64, uint64, uint64, int64, words),
    "bridge": (flat, int64, places, flat, flat),
    "gbm": (flat, float64, float64, float64, float64, flat),
    "heston": (flat, float64, float64, float64, types.UniTuple(float64, 8), types.UniTuple(float64, 5), flat),
    "pay": (int64, flat, types.UniTuple(float64, 9), int64, row, row),
    "revaluation": (places, flat, flat, deep, flat, flat, flat),
    "overfitting": (int64[::1], int64, deep, deep, flat, row, row, row, float64, deep),
}
kernels = {
    **_cuda.sources()._asdict(),
    "heston_integrals": _heston_cuda.source(),
    **_simulation_cuda.sources()._asdict(),
    "revaluation": _revaluation_cuda.source(),
    "overfitting": _overfitting_cuda.source(),
}
assert kernels.keys() == signatures.keys()
print(json.dumps({name: cuda.compile_ptx(kernels[name], signatures[name], cc=(9, 0))[0] for name in kernels}))
"""
# registers, of which an SM has 65,536: at 64 it holds 1,024 threads of these, half of what there is room for
MOST = {
    "european": 72,
    "european_rest": 96,
    "implied": 72,
    "implied_rest": 96,
    "heston_integrals": 255,
    "pseudo": 64,
    "sobol": 64,
    "bridge": 64,
    "gbm": 40,
    "heston": 72,
    "pay": 64,
    "revaluation": 72,
    "overfitting": 64,
}
# an array by row of its own, of which each thread of Heston's integrals holds one
LOCAL = {"heston_integrals"}


@pytest.fixture(scope="module")
def code() -> dict[str, str]:
    """The kernels in the card's assembly language."""
    # the wheel's compiler has no version in its name, so numba leaves it to the loader to find
    home = {"CUDA_HOME": str(WHEEL), "LD_LIBRARY_PATH": str(WHEEL / "nvvm" / "lib64")} if WHEEL.exists() else {}
    done = subprocess.run(
        [sys.executable, "-c", COMPILED],
        capture_output=True,
        text=True,
        env={**os.environ, **home, "PYTHONPATH": str(ROOT)},
        timeout=300,
    )
    if "NvvmSupportError" in done.stderr:
        pytest.skip("no compiler for cards here: pip install nvidia-cuda-nvcc-cu12")
    assert done.returncode == 0, done.stderr
    compiled: dict[str, str] = json.loads(done.stdout)
    return compiled


def test_every_kernel_is_looked_at(code: dict[str, str]) -> None:
    assert code.keys() == MOST.keys()


@pytest.mark.parametrize("name", sorted(MOST.keys() - LOCAL))
def test_a_kernel_needs_neither_local_memory_nor_calls(code: dict[str, str], name: str) -> None:
    assert ".local" not in code[name]
    assert not re.search(r"\bcall\b", code[name])


def test_the_fast_kernels_divide_little(code: dict[str, str]) -> None:
    assert len(re.findall(r"div\.rn\.f64", code["european"])) <= 3
    assert len(re.findall(r"div\.rn\.f64", code["implied"])) <= 16
    assert len(re.findall(r"fma\.rn\.f64", code["european"])) > 80


@pytest.mark.parametrize("name", sorted(MOST))
def test_a_kernel_spills_no_register(code: dict[str, str], name: str, tmp_path: Path) -> None:
    assembler = shutil.which("ptxas", path=str(WHEEL / "bin")) or shutil.which("ptxas")
    if assembler is None:
        pytest.skip("no ptxas here: pip install nvidia-cuda-nvcc-cu12")
    source = tmp_path / f"{name}.ptx"
    source.write_text(code[name], "utf-8")
    done = subprocess.run(
        [assembler, "-v", "-arch=sm_90", "-o", str(tmp_path / "out"), str(source)], capture_output=True, text=True
    )
    if "Unsupported .version" in done.stderr:
        pytest.skip("the ptxas here is older than numba's compiler for cards: install both of one version")
    assert done.returncode == 0, done.stderr
    assert "0 bytes spill stores, 0 bytes spill loads" in done.stderr
    registers = re.search(r"Used (\d+) registers", done.stderr)
    assert registers is not None
    assert int(registers[1]) <= MOST[name]
