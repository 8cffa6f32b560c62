"""Views of small images on a GPU against the CPU's: of many, blocks make several, one after the other; of few, several
blocks share one.

benchmarks/gpu.sh runs these under three tools of compute-sanitizer.
"""

from __future__ import annotations

import pytest
from image_augment_cases import photos

from sslfast import augment as A

pytestmark = pytest.mark.gpu

LISTS = {
    "equalize": lambda: [A.Resize(64), A.RandomEqualize(0.8)],
    "affine": lambda: [A.RandomResizedCrop(64), A.RandomAffine(20, (0.1, 0.2), (0.7, 1.3), 15, fill=0.3)],
    "blur": lambda: [A.RandomResizedCrop(64), A.ColorJitter(0.4, 0.4, 0.4, 0.1), A.GaussianBlur(41, (0.1, 9.0))],
    "sharpness and auto contrast": lambda: [
        *(A.Resize(64), A.RandomAdjustSharpness(2.0, 0.7), A.RandomAutocontrast(0.7)),
    ],
    "two of RandAugment": lambda: [A.RandomResizedCrop(64), A.RandAugment(2, 12)],
}


@pytest.mark.parametrize("rows", [300, 3])
@pytest.mark.parametrize("name", LISTS)
def test_many_or_few_views_are_those_of_the_cpu(name: str, rows: int) -> None:
    """Equalize and posterize split values by what rounding made of them: some pixels may tip."""
    images = photos(rows, 3, 80, 72)
    transform = A.Compose([*LISTS[name](), A.ToDtype()])
    params = transform.sample_params(images, generator=5)
    want = transform.apply_params(images, params)
    off = (transform.apply_params(images.cuda(), params.cuda()).cpu() - want).abs()
    assert (off > 5e-5).double().mean() < 5e-3
    assert off.max() < 0.1
