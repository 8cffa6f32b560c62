"""One stem names an operator in every layer: its files are where the law of the house has them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def stems(name: str) -> list[str]:
    found = re.search(rf"set\({name}\s+([^)]*)\)", (ROOT / "CMakeLists.txt").read_text())
    assert found, f"CMakeLists.txt has no list {name}"
    return found[1].split()


CUDA_STEMS, CPU_STEMS, TORCH_STEMS = stems("STEMS"), stems("CPU_ONLY_STEMS"), stems("TORCH_ON_GPU_STEMS")
SMALL_STEMS = stems("SMALL_STEMS")
IN_TORCH = {  # what a GPU runs
    "few_pairs": "kernels/cross_softmax.py",  # and one_way_softmax and sigmoid_pairs: the losses in tiles
    "few_views": "kernels/similarity_softmax.py",
    "image_augment_backward": "sslfast/augment/_gradient.py",
    "joint_softmax": "sslfast/losses/_negatives.py",
    "koleo": "sslfast/losses/koleo.py",
    "label_distances": "sslfast/losses/_triplets.py",
    "label_means": "sslfast/losses/_label_means.py",
    "label_softmax": "sslfast/losses/supcon.py",
    "limited_softmax": "kernels/cross_softmax.py",
    "nearest_rows": "sslfast/losses/nn_memory_bank.py",
    "negative_cosine_similarity": "sslfast/losses/negative_cosine_similarity.py",
    "own_similarities": "sslfast/losses/_hard.py",
    "queue_pairs": "kernels/queue_softmax.py",
}
# philox_words shows what the header draws, spec_mean is what an argument of spec_augment is, label_means a step of
# supcon_loss, label_softmax and label_distances losses of few rows, nearest_rows the search of NNMemoryBank,
# own_similarities a step of info_nce_loss and siglip_loss, joint_softmax one of info_nce_loss.
TEST_OF = {
    "joint_softmax": "info_nce",
    "label_distances": "triplet",
    "label_means": "supcon",
    "label_softmax": "supcon",
    "nearest_rows": "nn_memory_bank",
    "own_similarities": "info_nce",
    "philox_words": "philox",
    "spec_mean": "spec_augment",
}

BENCHMARK_OF = {"limited_softmax": "clip_options"}


@pytest.mark.parametrize("stem", [*CUDA_STEMS, *CPU_STEMS, *TORCH_STEMS, *SMALL_STEMS])
def test_a_stem_runs_through_every_layer(stem):
    short = TEST_OF.get(stem, stem)
    gpu = f"csrc/cuda/{stem}.cu" if stem in CUDA_STEMS else f"kernels/{short}.py"
    gpu = IN_TORCH.get(stem, gpu)
    layers = [f"csrc/include/sslfast/{stem}.h", f"csrc/cpu/{stem}.cpp", f"csrc/ops/{stem}.cpp", gpu]
    layers += [f"sslfast/reference/{short}.py", f"tests/test_{short}.py"]
    if stem not in TEST_OF:
        layers.append(f"benchmarks/bench_{BENCHMARK_OF.get(stem, stem)}.py")
    assert [name for name in layers if not (ROOT / name).exists()] == []
