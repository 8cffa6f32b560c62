"""What the benchmarks count of a GPU: names of driver calls and torch's warnings, and on a GPU a call that is known."""

from __future__ import annotations

import warnings

import pytest
import torch

from benchmarks import gpu_calls


def test_launches_are_told_from_other_calls():
    events = [("cudaLaunchKernel", 3), ("cudaLaunchKernelExC", 1), ("cuLaunchKernelEx", 2), ("cudaMemcpyAsync", 9)]
    assert gpu_calls.launches_among(events) == 6
    assert gpu_calls.launches_among([("cudaDeviceSynchronize", 1)]) == 0


def test_waits_are_told_from_other_warnings():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("called a synchronizing CUDA operation (Triggered internally)", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
    assert gpu_calls.waits_among(caught) == 1


@pytest.mark.gpu
def test_counts_of_known_calls():
    x = torch.ones(1000, device="cuda")
    assert gpu_calls.counts(lambda: x + 1) == (1, 0)
    assert gpu_calls.counts(lambda: (x + 1).sum().item())[1] == 1
