"""The NumPy face as such: no torch, threads, the torch face's arguments. Its values are tested with each operator."""

from __future__ import annotations

import inspect
import multiprocessing
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import sslfast.masking
import sslfast.random
from sslfast import host

BLOCKED = """
import sys
sys.modules["torch"] = None  # importing torch raises from here on
import numpy as np
from sslfast import host
ids, labels, masked = host.mask_tokens(np.arange(64).reshape(4, 16), mask_token_id=1, vocab_size=99, seed=3)
keep, restore, mask = host.random_patch_mask(2, 16, seed=3)
words = host.philox_words(3, 1, 1)
rows = host.pad_sequences([[1, 2], np.arange(3)], padding_value=0)
host.mask_words(rows, word_ids=rows, mask_token_id=1, vocab_size=99, seed=3)
assert not [name for name in sys.modules if name.split(".")[0] == "triton"]
print(int(labels.max()), keep.shape, words.dtype)
"""


def test_works_without_torch(tmp_path):
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1:] == ["(2,", "4)", "int64"]


@pytest.mark.parametrize(
    ("ours", "torchs"),
    [
        (host.corrupt_spans, sslfast.masking.corrupt_spans),
        (host.mask_items, sslfast.masking.mask_items),
        (host.mask_spans, sslfast.masking.mask_spans),
        (host.mask_tokens, sslfast.masking.mask_tokens),
        (host.mask_words, sslfast.masking.mask_words),
        (host.random_patch_mask, sslfast.masking.random_patch_mask),
        (host.philox_words, sslfast.random.philox_words),
        (host.sample_replacements, sslfast.masking.sample_replacements),
    ],
    ids=lambda f: f.__name__,
)
def test_same_arguments_and_defaults(ours, torchs):
    def arguments(function):
        return {
            name: (p.kind, p.default)
            for name, p in inspect.signature(function).parameters.items()
            if name not in ("seed", "generator", "device", "threads")
        }

    assert arguments(ours) == arguments(torchs)
    assert list(arguments(ours)) == list(arguments(torchs))
    assert inspect.signature(ours).parameters["threads"].default == 1
    assert inspect.signature(ours).parameters["seed"].default is inspect.Parameter.empty
    assert host.PatchMask._fields == sslfast.masking.PatchMask._fields


def test_any_number_of_threads():
    ids = np.arange(6400).reshape(64, 100)
    tokens = [host.mask_tokens(ids, mask_token_id=0, vocab_size=6400, seed=5, threads=n) for n in (1, 2, 9)]
    patches = [host.random_patch_mask(64, 1000, seed=5, threads=n) for n in (1, 2, 9)]
    words = [(host.philox_words(5, 64, 10, threads=n),) for n in (1, 2, 9)]
    for results in (tokens, patches, words):
        for other in results[1:]:
            assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


def _in_worker(queue: multiprocessing.SimpleQueue) -> None:
    queue.put(host.random_patch_mask(64, 1000, seed=1).mask)


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux")
def test_works_in_a_forked_worker():
    """Like a DataLoader's: GNU OpenMP hangs in the child of a process that used threads, unless one is enough."""
    expected = host.random_patch_mask(64, 1000, seed=1, threads=2).mask  # starts this process's threads
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    worker = context.Process(target=_in_worker, args=(queue,))
    worker.start()
    worker.join(20)
    assert worker.exitcode == 0, "the worker hangs" if worker.is_alive() else "the worker fails"
    assert np.array_equal(queue.get(), expected)


def test_the_input_is_not_changed_and_the_output_is_new():
    ids = np.arange(40).reshape(4, 10)
    out, labels, _ = host.mask_tokens(ids, mask_token_id=0, vocab_size=40, seed=1, mlm_probability=1.0)
    assert np.array_equal(ids, np.arange(40).reshape(4, 10))
    assert not np.shares_memory(out, ids)
    assert not np.shares_memory(labels, ids)
    ids.setflags(write=False)
    again = host.mask_tokens(ids, mask_token_id=0, vocab_size=40, seed=1, mlm_probability=1.0)[0]
    assert np.array_equal(again, out)


def test_the_gil_is_released():
    """A Python thread keeps counting while a kernel runs in another."""
    ticks, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            ticks[0] += 1
            time.sleep(0.0005)

    counter = threading.Thread(target=count)
    counter.start()
    try:
        before, start = ticks[0], time.perf_counter()
        host.philox_words(1, 3000, 4000)
        host.random_patch_mask(2000, 4000, seed=1)
        elapsed, during = time.perf_counter() - start, ticks[0] - before
    finally:
        stop.set()
        counter.join()
    assert elapsed < 0.05 or during > 10


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: host.philox_words(1.0, 1, 1), TypeError, "philox_words: seed must be an int, got float"),
        (
            lambda: host.philox_words(1, 1, 1, threads=0),
            ValueError,
            "philox_words: threads must be in [1, 1024], got 0",
        ),
        (
            lambda: host.random_patch_mask(1, 4, 0.5, seed=2**63),
            ValueError,
            f"random_patch_mask: seed must be in [{-(2**63)}, {2**63 - 1}], got {2**63}",
        ),
        (
            lambda: host.mask_tokens([1], mask_token_id=0, vocab_size=2, seed=1),
            TypeError,
            "mask_tokens: ids must be an array, got list",
        ),
        (
            lambda: host.mask_tokens(np.arange(3, dtype=">i8"), mask_token_id=0, vocab_size=2, seed=1),
            TypeError,
            "mask_tokens: ids must be int64, int32 or int16, whose labels hold -100, got >i8",
        ),
        (
            lambda: host.mask_tokens(
                np.arange(3), mask_token_id=0, vocab_size=2, seed=1, special_tokens_mask=np.zeros(3)
            ),
            TypeError,
            "mask_tokens: special_tokens_mask must be a bool or integer array, got float64",
        ),
    ],
)
def test_bad_input_of_this_face(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
