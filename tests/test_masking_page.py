"""docs/masking.md: a picture of every rule, every public name, every drop-in; its pictures can be drawn."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import runpy
from pathlib import Path
from types import ModuleType

import pytest

from sslfast import masking
from sslfast.masking import drop_in

pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "masking.md").read_text()
PICTURES = re.findall(r"!\[(\w+)\]\((images/masks/\w+\.png)\)", PAGE)


def rules() -> set[str]:
    """The public functions that draw."""
    public = {name: getattr(masking, name) for name in masking.__all__}
    return {
        name
        for name, value in public.items()
        if inspect.isfunction(value) and "generator" in inspect.signature(value).parameters
    }


def drop_ins() -> dict[str, list[str]]:
    """Module -> the names that it offers."""
    modules = {
        m.name: importlib.import_module(f"{drop_in.__name__}.{m.name}")
        for m in pkgutil.iter_modules(drop_in.__path__)
        if not m.name.startswith("_")
    }
    return {name: offered(module) for name, module in modules.items()}


def offered(module: ModuleType) -> list[str]:
    if hasattr(module, "__all__"):
        return list(module.__all__)
    own = inspect.getmembers(module, lambda value: getattr(value, "__module__", None) == module.__name__)
    return [name for name, _ in own if not name.startswith("_")]


def test_draws_one_picture_of_every_rule(tmp_path: Path) -> None:
    runpy.run_path(str(DOCS / "mask_figures.py"))["main"](tmp_path, 8)
    assert {path.stem for path in tmp_path.iterdir()} == rules()
    for path in tmp_path.iterdir():
        assert Image.open(path).width == 900, path.name


def test_page_shows_a_picture_of_every_rule() -> None:
    assert {name for name, _ in PICTURES} == rules()
    assert {path for _, path in PICTURES} == {f"images/masks/{path.name}" for path in (DOCS / "images/masks").iterdir()}
    for name, path in PICTURES:
        assert Path(path).stem == name
        assert (DOCS / path).stat().st_size < 40_000, path


def test_page_names_everything_public() -> None:
    words = set(re.findall(r"\w+", PAGE))
    assert set(masking.__all__) - words == set()


def test_page_has_every_drop_in() -> None:
    for module, names in drop_ins().items():
        rows = [line for line in PAGE.splitlines() if f"`.{module} import" in line]
        assert set(names) - set(re.findall(r"\w+", " ".join(rows))) == set(), module
