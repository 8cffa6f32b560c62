"""What the threads on the CPU find: kernels of faults.cu, each with a fault, in orders of turns."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
THREADS = 64
ORDERS = ["ascending", "descending", "7"]
PROGRAM = """
import ctypes, json, sys
out, message = (ctypes.c_float * 64)(*[-1.0] * 64), ctypes.create_string_buffer(500)
error = ctypes.CDLL(sys.argv[1]).run_kernel(int(sys.argv[2]), out, message)
print(json.dumps([error, message.value.decode(), list(out)]))
"""


def build(folder: Path, *options: str) -> Path:
    subprocess.run([sys.executable, HERE / "rewrite.py", HERE, folder], check=True)
    flags = ["-std=c++20", "-O1", "-shared", "-fPIC", "-D__CUDACC__", f"-I{HERE / 'include'}", f"-I{HERE}", *options]
    machine = [HERE / f"{name}.cpp" for name in ("grid", "threads", "shared_memory", "fiber")]
    subprocess.run(["g++", *flags, folder / "faults.cpp", *machine, "-o", folder / "faults.so"], check=True)
    return folder / "faults.so"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("faults"))


def run(library: Path, number: int, order: str) -> tuple[int, str, list[float]]:
    """Error, message and what 64 threads wrote, -1 where they did not."""
    environment = {**os.environ, "CUDA_ON_CPU_ORDER": order}
    command = [sys.executable, "-c", PROGRAM, library, str(number)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return tuple(json.loads(done.stdout))


ROTATED = [float((i + 1) % THREADS) for i in range(THREADS)]


@pytest.mark.parametrize("order", ORDERS)
def test_a_kernel_without_fault(library, order):
    assert run(library, 0, order) == (0, "", ROTATED)


def test_a_barrier_that_is_missing(library):
    for order in ORDERS:
        error, message, out = run(library, 1, order)
        assert (error, message) == (0, "")
        assert (out == ROTATED) is False, order


@pytest.mark.parametrize("order", ORDERS)
def test_shared_memory_is_garbage_at_first(library, order):
    assert all(math.isnan(x) for x in run(library, 2, order)[2])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("number", [3, 15])
def test_threads_at_two_barriers(library, order, number):
    assert "at the barrier of" in run(library, number, order)[1]


@pytest.mark.parametrize("order", ORDERS)
def test_threads_that_have_ended_are_not_waited_for(library, order):
    assert run(library, 4, order) == (0, "", [32.0] * 32 + [8.0] * 8 + [-1.0] * 24)


@pytest.mark.parametrize("order", ORDERS)
def test_lanes_that_do_not_come(library, order):
    message = run(library, 5, order)[1]
    assert "thread 0 waits at" in message
    assert "for its warp; thread 16 waits at" in message


@pytest.mark.parametrize("order", ORDERS)
def test_the_value_of_a_lane_that_has_ended(library, order):
    assert "reads lane 31, which is not there" in run(library, 6, order)[1]


def test_what_lies_behind_an_array(library):
    assert "behind a shared array of 256 bytes" in run(library, 7, "ascending")[1]


def test_a_sum_of_the_block_is_for_one_thread(library):
    out = run(library, 8, "ascending")[2]
    assert out[0] == THREADS
    assert all(math.isnan(x) for x in out[1:])


@pytest.mark.parametrize("number", [9, 10, 11, 12])
def test_launches_that_cuda_refuses(library, number):
    assert run(library, number, "ascending") == (9, "", [-1.0] * THREADS)


def test_shared_memory_that_a_kernel_asked_for(library):
    error, message, out = run(library, 13, "ascending")
    assert (error, message) == (0, "")
    assert all(math.isnan(x) for x in out)
    assert run(library, 14, "ascending") == (1, "", [-1.0] * THREADS)


PASSED_ON = [float((i + 16) % THREADS) for i in range(THREADS)]  # by blocks of 16 threads


@pytest.mark.parametrize("order", ORDERS)
def test_blocks_that_wait_for_each_other(library, order):
    assert run(library, 16, order) == (0, "", PASSED_ON)


def test_a_barrier_of_the_grid_that_is_missing(library):
    for order in ORDERS:
        error, message, out = run(library, 17, order)
        assert (error, message) == (0, "")
        assert (out == PASSED_ON) is False, order


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("number", [18, 19])
def test_blocks_and_threads_that_do_not_come(library, order, number):
    message = run(library, number, order)[1]
    assert "for the grid" in message
    assert "in block 2 threads have ended" in message


@pytest.mark.parametrize("order", ORDERS)
def test_blocks_at_two_barriers_of_the_grid(library, order):
    assert "threads are at the grid's barrier of" in run(library, 20, order)[1]


@pytest.mark.parametrize("order", ORDERS)
def test_threads_at_the_block_and_at_the_grid(library, order):
    message = run(library, 21, order)[1]
    assert "for the block" in message
    assert "for the grid" in message


def test_blocks_that_are_not_there_at_once(library, monkeypatch):
    """Of 64 threads a multiprocessor holds 8 blocks."""
    assert run(library, 22, "ascending")[:2] == (0, "")
    monkeypatch.setenv("CUDA_ON_CPU_PROCESSORS", "1")
    assert run(library, 22, "ascending") == (82, "", [-1.0] * THREADS)
    assert "a launch that is not cooperative" in run(library, 23, "ascending")[1]


def test_the_sanitizer(tmp_path):
    """It sees what is written behind a shared array, and words read behind memory, but not those that begin in it."""
    library = build(tmp_path, "-fsanitize=address", "-g1")
    runtime = subprocess.run(["g++", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True)
    environment = {**os.environ, "LD_PRELOAD": runtime.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0"}
    command = [sys.executable, "-c", PROGRAM, library]
    for number, expected in (("0", ROTATED), ("24", [3.0] * THREADS)):
        good = subprocess.run([*command, number], check=True, capture_output=True, text=True, env=environment)
        assert json.loads(good.stdout) == [0, "", expected]
    for number in ("7", "25"):
        bad = subprocess.run([*command, number], check=False, capture_output=True, text=True, env=environment)
        assert bad.returncode != 0
        assert "heap-buffer-overflow" in bad.stderr
