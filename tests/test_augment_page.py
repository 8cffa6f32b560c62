"""The gallery of docs/augment.md: it draws, and has every transform and recipe."""

from __future__ import annotations

import inspect
import re
import runpy
from pathlib import Path

from torch import nn

from sslfast import augment as A

DOCS = Path(__file__).parents[1] / "docs"
SCRIPT = (DOCS / "augment_figures.py").read_text()
PAGES = "".join((DOCS / f"{page}.md").read_text() for page in ("augment", "augment_batch"))
NOT_DRAWN = {
    "AudioAugment",
    "CL4SRecAugment",
    "MultiView",
    "Normalize",
    "ToDtype",
    "VideoTransform",
}  # no images, lists, forms of numbers
SAME = {"SimSiamAugment"}  # drawn as MoCoV2Augment


def test_gallery_draws(tmp_path: Path) -> None:
    """Every view of every sheet, and a picture of each sheet's first row: pictures of all rows take seconds."""
    figures = runpy.run_path(str(DOCS / "augment_figures.py"))
    images = figures["photograph"]()
    for sheet, draw in figures["SHEETS"].items():
        rows = draw(images)
        assert all(view.shape[2] == 3 and view.shape[0] >= 32 for row in rows for _, view in row), sheet
        figures["save"](rows[:1], tmp_path / f"{sheet}.jpg", 12)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {path.name for path in (DOCS / "images" / "augment").iterdir()}
    assert all(f"images/augment/{name}" in PAGES for name in drawn)


def test_gallery_has_every_transform_and_recipe() -> None:
    public = {name: getattr(A, name) for name in A.__all__}
    wanted = {name for name, one in public.items() if inspect.isclass(one) and issubclass(one, nn.Module)}
    assert wanted - NOT_DRAWN - SAME - set(re.findall(r"A\.(\w+)", SCRIPT)) == set()
