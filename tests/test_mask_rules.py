"""What every masking rule promises: equal faces, rows by their numbers, seeds that differ, one graph, no waiting."""

from __future__ import annotations

import pytest
import torch
from cuda_graph import captured
from mask_rules import RULES, Rule
from oracle import all_equal

NUMBERS = torch.arange(40, 48)
rules = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


def draw(rule: Rule, device="cpu", seed=11, numbers=NUMBERS):
    inputs = [t.to(device) for t in rule.inputs(numbers)]
    return rule.torch(inputs, len(numbers), device, generator=seed, sample_ids=numbers.to(device))


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.numpy is not None], ids=lambda rule: rule.name)
def test_numpy_face(rule):
    for threads in (1, 3):
        inputs = [t.numpy() for t in rule.inputs(NUMBERS)]
        arrays = rule.numpy(inputs, len(NUMBERS), seed=11, sample_ids=NUMBERS.numpy(), threads=threads)
        assert all_equal([torch.from_numpy(a) for a in arrays], draw(rule))


@rules
def test_threads(rule):
    threads = torch.get_num_threads()
    numbers = torch.arange(400)
    try:
        torch.set_num_threads(1)
        expected = draw(rule, numbers=numbers)
        torch.set_num_threads(4)
        assert all_equal(draw(rule, numbers=numbers), expected)
    finally:
        torch.set_num_threads(threads)


@rules
def test_rows_depend_on_their_numbers_alone(rule):
    whole = draw(rule)
    order = torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])
    assert all_equal(draw(rule, numbers=NUMBERS[order]), [w[order] for w in whole])
    halves = [draw(rule, numbers=half) for half in (NUMBERS[:4], NUMBERS[4:])]
    assert all_equal([torch.cat(parts) for parts in zip(*halves, strict=True)], whole)
    assert all_equal(rule.torch(rule.inputs(NUMBERS), 8, "cpu", generator=11, row_offset=40), whole)


@rules
def test_seeds_and_rows_differ(rule):
    first, other = draw(rule), draw(rule, seed=12)
    assert any(not torch.equal(a, b) for a, b in zip(first, other, strict=True))
    again = rule.torch(rule.inputs(NUMBERS), 8, "cpu", generator=11, sample_ids=NUMBERS + 8)
    assert any(not torch.equal(a, b) for a, b in zip(first, again, strict=True))


@rules
def test_compiles_to_one_graph(rule):
    def call(inputs, seed, numbers):
        return rule.torch(inputs, 8, "cpu", generator=seed, sample_ids=numbers)

    torch.compiler.reset()  # each rule compiles the same lines anew, and that only so often
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    assert all_equal(compiled(rule.inputs(NUMBERS), torch.tensor(11), NUMBERS), draw(rule))


@rules
@pytest.mark.gpu
def test_gpu_gives_the_same_bits_without_waiting(rule):
    expected = draw(rule)
    draw(rule, "cuda")  # what is built at first use is built
    inputs = [t.cuda() for t in rule.inputs(NUMBERS)]
    seed, numbers = torch.tensor([11], device="cuda"), NUMBERS.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        ours = rule.torch(inputs, 8, "cuda", generator=seed, sample_ids=numbers)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all_equal(ours, expected)


@rules
@pytest.mark.gpu
def test_a_captured_graph_draws_from_the_seed_of_the_moment(rule):
    inputs = [t.cuda() for t in rule.inputs(NUMBERS)]
    seed, numbers = torch.tensor([11], device="cuda"), NUMBERS.cuda()
    graph, results = captured(lambda: rule.torch(inputs, 8, "cuda", generator=seed, sample_ids=numbers))
    for value in (12, 11):
        seed.fill_(value)
        graph.replay()
        assert all_equal(results, draw(rule, seed=value))
