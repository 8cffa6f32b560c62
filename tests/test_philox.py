"""The random bits: published known-answer vectors, and the same words from every implementation."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from compiled_program import words_of
from scipy import stats

from sslfast import host, ops
from sslfast.random import STREAMS, philox_words, seed_tensor
from sslfast.reference.philox import philox, philox_rows

triton = pytest.importorskip("triton")
tl = pytest.importorskip("triton.language")
kernels = pytest.importorskip("sslfast.kernels.philox")
triton_philox = kernels.philox

ROOT = Path(__file__).resolve().parent.parent
MAX32 = 0xFFFFFFFF

# Random123 1.14, tests/kat_vectors, philox4x32-10: counter, key, output.
KNOWN_ANSWERS = {
    "zeros": ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    "ones": ((MAX32,) * 4, (MAX32,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    "pi": (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
}


def _signed(low: int, high: int) -> int:
    """Two 32-bit words as a signed 64-bit number."""
    word = high << 32 | low
    return word - 2**64 if word >= 2**63 else word


# The public faces count elements from 0 and take rows that are not negative, so the vectors enter below them: at the
# functions that hold the rounds.


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS.values(), ids=KNOWN_ANSWERS)
def test_known_answers_reference(counter, key, expected):
    element, row_low, row_high, stream = counter
    words = philox(_signed(*key), stream, torch.tensor(_signed(row_low, row_high)), torch.tensor(element))
    assert tuple(words.tolist()) == expected


@triton.jit
def _known_kernel(out_ptr, seed, stream, row, element):
    zero = tl.zeros((1,), tl.int64)
    words = triton_philox(zero + seed, zero + stream, zero + row, zero + element)
    at = out_ptr + tl.arange(0, 1)
    tl.store(at, words[0].to(tl.int64))
    tl.store(at + 1, words[1].to(tl.int64))
    tl.store(at + 2, words[2].to(tl.int64))
    tl.store(at + 3, words[3].to(tl.int64))


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS.values(), ids=KNOWN_ANSWERS)
def test_known_answers_triton(counter, key, expected, triton_device):
    element, row_low, row_high, stream = counter
    out = torch.empty(4, dtype=torch.int64, device=triton_device)
    _known_kernel[(1,)](out, _signed(*key), stream, _signed(row_low, row_high), element)
    assert tuple(out.tolist()) == expected


def test_known_answer_zeros_public(device):
    expected = list(KNOWN_ANSWERS["zeros"][2])
    assert philox_words(0, 1, 1, device=device).flatten().tolist() == expected
    assert host.philox_words(0, 1, 1).flatten().tolist() == expected


@pytest.mark.parametrize("name", ["ones", "pi"])
def test_known_answers_compiled(name, tmp_path):
    """csrc/include/sslfast/philox.h at counters that no operator reaches, compiled by itself."""
    counter, key, expected = KNOWN_ANSWERS[name]
    element, row_low, row_high, stream = counter
    source = (
        '#include <cstdio>\n#include "sslfast/philox.h"\n'
        f"int main() {{ const auto w = sslfast::philox({key[1] << 32 | key[0]}ull, {stream}u, "
        f"{row_high << 32 | row_low}ull, {element}u);\n"
        'std::printf("%u %u %u %u", w.word[0], w.word[1], w.word[2], w.word[3]); }\n'
    )
    assert tuple(map(int, words_of(source, tmp_path))) == expected


# ---- one function, four implementations

SEEDS = [0, 1, -1, 2**63 - 1, -(2**63), 0x299F31D0A4093822]
# (rows, elements, row_offset): one; not a power of two; past the Triton block of 256; rows above 2^32; nothing
SIZES = [(1, 1, 0), (3, 7, 5), (2, 300, 0), (2, 3, 2**33 + 7), (0, 4, 0), (4, 0, 0)]


@pytest.mark.parametrize(("rows", "elements", "row_offset"), SIZES)
@pytest.mark.parametrize("seed", SEEDS)
def test_cpu_and_host_equal_reference(device, seed, rows, elements, row_offset):
    for stream in (0, MAX32):
        expected = philox_rows(seed, stream, rows, elements, row_offset)
        words = philox_words(seed, rows, elements, stream=stream, row_offset=row_offset, device=device)
        assert torch.equal(words.cpu(), expected)
        array = host.philox_words(seed, rows, elements, stream=stream, row_offset=row_offset, threads=2)
        assert np.array_equal(array, expected.numpy())


@pytest.mark.parametrize(("rows", "elements", "row_offset"), SIZES)
@pytest.mark.parametrize("seed", SEEDS)
def test_triton_equals_reference(triton_device, seed, rows, elements, row_offset):
    like = torch.empty((), device=triton_device)
    words = kernels.philox_words(like, torch.tensor(seed), MAX32, rows, elements, row_offset)
    expected = philox_rows(seed, MAX32, rows, elements, row_offset)
    assert torch.equal(words.cpu().to(torch.int64) & MAX32, expected)


def test_streams_are_those_of_the_header():
    header = (ROOT / "csrc/include/sslfast/philox.h").read_text()
    found = {name: int(number) for name, number in re.findall(r"\bk(\w+) = (\d+),", header)}
    assert {re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower(): n for name, n in found.items()} == STREAMS
    assert len(set(STREAMS.values())) == len(STREAMS)


def test_row_offset_makes_shards_equal_the_whole(device):
    whole = philox_words(7, 10, 5, device=device)
    shards = [philox_words(7, 4, 5, device=device), philox_words(7, 6, 5, row_offset=4, device=device)]
    assert torch.equal(whole, torch.cat(shards))


def test_rows_elements_streams_and_seeds_differ():
    words = torch.cat([philox_words(seed, 40, 40, stream=s).flatten() for seed in (1, 2) for s in (0, 1)])
    assert len(words) - len(words.unique()) <= 12  # a birthday: 25,600 draws of 2^32 collide 0.08 times on average


@pytest.mark.parametrize("name", sorted(STREAMS))
def test_streams_are_independent(name):
    """Two uses of random bits at the same seed, row and element agree in half of the bits, as strangers do."""
    stream = STREAMS[name]
    words = philox_words(11, 16, 64, stream=stream)
    for other in set(STREAMS.values()) - {stream}:
        differ = words ^ philox_words(11, 16, 64, stream=other)
        ones = sum(int((differ >> bit & 1).sum()) for bit in range(32))
        assert stats.binomtest(ones, 32 * differ.numel()).pvalue > 1e-6, other


def test_words_are_uniform():
    words = philox_words(11, 64, 512).numpy()
    assert stats.kstest(words.flatten() / 2.0**32, "uniform").pvalue > 1e-3
    for shift in (0, 8, 16, 24):
        counts = np.bincount((words.flatten() >> shift) & 255, minlength=256)
        assert stats.chisquare(counts).pvalue > 1e-4, shift
    table = np.zeros((16, 16))
    np.add.at(table, (words[..., 0].flatten() >> 28, words[..., 1].flatten() >> 28), 1)
    assert stats.chisquare(table.flatten()).pvalue > 1e-4  # neighbouring words are independent


def test_opcheck(device):
    arguments = (torch.empty((), device=device), torch.tensor(5), 0, 3, 4, 1)
    torch.library.opcheck(ops.philox_words, arguments)


def test_compiles_to_one_graph():
    compiled = torch.compile(lambda: philox_words(3, 4, 5, row_offset=2), fullgraph=True)
    assert torch.equal(compiled(), philox_words(3, 4, 5, row_offset=2))


# ---- seeds


def test_none_draws_once_from_the_global_stream():
    torch.manual_seed(5)
    first, state = seed_tensor(None), torch.get_rng_state()
    torch.manual_seed(5)
    assert torch.equal(first, torch.randint(2**63 - 1, ()))
    assert torch.equal(state, torch.get_rng_state())


def test_generator_draws_from_itself_alone():
    state = torch.get_rng_state()
    generator = torch.Generator().manual_seed(3)
    seeds = {seed_tensor(generator).item() for _ in range(4)}
    assert len(seeds) == 4
    assert torch.equal(torch.get_rng_state(), state)
    assert seed_tensor(torch.Generator().manual_seed(3)).item() in seeds


def test_int_and_tensor_are_the_seed():
    seed = torch.tensor([-4])
    assert seed_tensor(seed) is seed
    assert seed_tensor(-4).item() == -4
    assert seed_tensor(np.int64(9)).item() == 9


@pytest.mark.parametrize(
    ("generator", "error", "message"),
    [
        (1.5, TypeError, "f: generator must be None, an int, a torch.Generator or an int64 tensor, got float"),
        (True, TypeError, "f: generator must be None, an int, a torch.Generator or an int64 tensor, got bool"),
        (2**63, ValueError, f"f: generator must be in [{-(2**63)}, {2**63 - 1}], got {2**63}"),
        (torch.tensor(1.0), TypeError, "f: a seed tensor must be int64, got torch.float32"),
        (torch.tensor([1, 2]), ValueError, "f: a seed tensor must have one element, got shape (2,)"),
        (torch.empty(1, dtype=torch.int64, device="meta"), ValueError, "f: generator must be on the CPU, got meta"),
    ],
)
def test_bad_seeds(generator, error, message):
    with pytest.raises(error) as raised:
        seed_tensor(generator, function="f", device=torch.device("cpu"))
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rows": -1}, ValueError, "philox_words: rows must be at least 0, got -1"),
        ({"elements": 2**32 + 1}, ValueError, "philox_words: elements must be in [0, 4294967296], got 4294967297"),
        ({"stream": -1}, ValueError, "philox_words: stream must be in [0, 4294967295], got -1"),
        ({"row_offset": -1}, ValueError, "philox_words: row_offset must be at least 0, got -1"),
        ({"row_offset": 2**63}, ValueError, f"philox_words: row_offset must be in [0, {2**63 - 1}], got {2**63}"),
        ({"rows": 1.0}, TypeError, "philox_words: rows must be an int, got float"),
    ],
)
def test_bad_arguments(arguments, error, message):
    good = {"seed": 1, "rows": 1, "elements": 1}
    for function in (philox_words, host.philox_words):
        with pytest.raises(error) as raised:
            function(**{**good, **arguments})
        assert str(raised.value) == message
