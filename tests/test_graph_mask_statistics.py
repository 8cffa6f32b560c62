"""mask_nodes and drop_edges: how many nodes get what, GraphMAE's numbers, and distributions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import stats

from sslfast.masking import drop_edges, mask_nodes

ALPHA = 1e-4


def test_counts_are_those_of_exact_arithmetic():
    for nodes in (1, 10, 77, 100):
        for percent in range(0, 101, 10):
            mode = "exact" if percent < 100 else "compat"
            out, masked, kept, mask = mask_nodes(torch.ones(nodes, 1), percent / 100, replace_rate=0.0, mode=mode)
            assert len(masked) == int(nodes * Fraction(percent, 100))
            assert len(masked) + len(kept) == nodes
            assert torch.equal(torch.cat([masked, kept]).sort().values, torch.arange(nodes))
            assert torch.equal((out == 0).flatten(), mask)
            assert torch.equal(mask.nonzero().flatten(), masked.sort().values)


@pytest.mark.parametrize("mode", ["exact", "compat"])
def test_sets_tokens_and_donors_are_uniform(mode):
    graphs = 20_000
    x, ptr = torch.arange(1.0, 7.0).repeat(graphs)[:, None], torch.arange(graphs + 1) * 6
    found = mask_nodes(x, 0.5, replace_rate=1 / 3, ptr=ptr, mode=mode, generator=1)  # 2 tokens, 1 replaced
    masked = found.masked_nodes.view(graphs, 6)[:, :3] % 6
    out = found.x.view(graphs, 6)
    donors = out.gather(1, masked[:, 2:]).flatten().long() - 1
    replaced = masked[:, 2] * 6 + donors
    sets, tokens = (1 << masked).sum(1), (out == 0).nonzero()[:, 1]
    for observed, kinds in ((sets, 20), (tokens, 6), (donors, 6), (replaced, 30 if mode == "exact" else 36)):
        counts = np.unique(observed.numpy(), return_counts=True)[1]
        assert len(counts) == kinds
        assert stats.chisquare(counts).pvalue > ALPHA
    gives_while_masked = (masked == donors[:, None]).any(1)
    assert gives_while_masked.any() == (mode == "compat")


def graphmae_counts(nodes, mask_rate, replace_rate):
    """How many nodes GraphMAE's encoding_mask_noise masks, gives the token and replaces; None where it raises."""
    masked = int(mask_rate * nodes)
    if replace_rate <= 0:
        return masked, masked, 0
    order = list(range(masked))
    tokens = order[: int((1 - replace_rate) * masked)]
    noise = order[-int(replace_rate * masked) :]
    if len(noise) != int(replace_rate * masked):
        return None
    return masked, len(tokens), len(noise)


def test_compat_has_the_counts_of_graphmae():
    unchanged = set()
    for nodes in (1, 7, 50, 64, 100, 333):
        x = torch.arange(1.0, nodes + 1)[:, None] * (1 + 1j)  # the token, a donor or itself: told by the value
        for mask_rate in (0.29, 0.3, 0.5, 1.0):
            for replace_rate in (0.0, 0.05, 0.1, 0.29, 0.3, 0.9):
                out, order, _, mask = mask_nodes(
                    x, mask_rate, replace_rate=replace_rate, mask_token=torch.tensor([-1j]), mode="compat", generator=3
                )
                expected = graphmae_counts(nodes, mask_rate, replace_rate)
                tokens = int((out == -1j).sum())
                if expected is None:
                    assert tokens == len(order)
                    continue
                stays = (out == x).flatten()[order[tokens + expected[2] :]]
                assert (int(mask.sum()), tokens) == expected[:2]
                assert stays.all()
                unchanged.add(len(stays))
    assert unchanged == {0, 1}


def test_the_node_that_compat_leaves_is_any():
    graphs = 20_000
    x, ptr = torch.arange(1.0, 16.0).repeat(graphs)[:, None], torch.arange(graphs + 1) * 15
    found = mask_nodes(x, 1.0, ptr=ptr, mode="compat", generator=1)
    order = found.masked_nodes.view(graphs, 15) % 15
    assert ((found.x == 0).view(graphs, 15).sum(1) == 13).all()
    assert stats.chisquare(order[:, 14].bincount(minlength=15)).pvalue > ALPHA
    assert torch.equal(found.x.view(graphs, 15).gather(1, order[:, 14:]), order[:, 14:] + 1.0)


def test_edges_are_dropped_by_themselves():
    dropped = drop_edges(torch.zeros(2, 50_000), 0.3, generator=1)
    assert stats.binomtest(int(dropped.sum()), 50_000, 0.3).pvalue > ALPHA
    assert stats.binomtest(int((dropped[1:] & dropped[:-1]).sum()), 49_999, 0.09).pvalue > ALPHA
    ptr = torch.arange(5001) * 10
    batch = drop_edges(torch.zeros(2, 50_000), 0.3, ptr=ptr, generator=1).view(5000, 10)
    assert stats.chisquare(batch.sum(0)).pvalue > ALPHA
    counts = np.bincount(batch.sum(1), minlength=11)[:8]
    law = stats.binom(10, 0.3).pmf(np.arange(8))
    assert stats.chisquare(counts, law / law.sum() * counts.sum()).pvalue > ALPHA


def test_donors_give_once_before_any_gives_twice():
    for mask_rate, replace_rate in ((0.5, 1.0), (0.8, 0.5), (0.9, 1.0), (0.95, 1.0)):
        x = torch.arange(1.0, 101.0)[:, None]
        found = mask_nodes(x, mask_rate, replace_rate=replace_rate, generator=4)
        replaced = int(len(found.masked_nodes) * Fraction(str(replace_rate)))
        taken = found.x[found.mask].flatten()
        given = torch.bincount((taken[taken > 0] - 1).long(), minlength=100)
        assert int(given.sum()) == replaced
        assert int(given[found.mask].sum()) == 0
        kept = given[~found.mask]
        assert int(kept.max()) - int(kept.min()) <= 1
