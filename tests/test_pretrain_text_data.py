"""Texts: the embedded glosses and the script that makes them, files and folders with all their faults, the split."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("lightning")

from sslfast.pretrain import text_data
from sslfast.pretrain.config import UserError
from sslfast.pretrain.settings import changed_settings, resolve
from sslfast.pretrain.text_data import is_test, load_glosses, load_text_files, load_texts

ROOT = Path(__file__).parents[1]
MLM = {"method": "mlm", "data": "glosses"}


def write_texts(folder, count=240, names=("animal", "person")):
    """Glosses of some classes, a file of lines for each, in a sub-folder by its name."""
    data = load_glosses()
    for name in names:
        label = data.classes.index(name)
        parts = ((data.train, data.train_labels), (data.test, data.test_labels))
        found = [
            [text for text, n in zip(texts, labels.tolist(), strict=True) if n == label] for texts, labels in parts
        ]
        lines = [text for five in zip(*[iter(found[0])] * 4, found[1], strict=False) for text in five]
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "lines.txt").write_text("\n".join(lines[: count // len(names)]) + "\n", encoding="utf-8")


def test_glosses_hold_25_classes_and_a_split_that_stays():
    data = load_glosses()
    assert (len(data.train), len(data.test), len(data.classes)) == (16_079, 3_921, 25)
    assert data.classes[:3] == ("act", "animal", "artifact")
    assert torch.cat([data.train_labels, data.test_labels]).bincount(minlength=25).min() >= 10
    assert len({*data.train, *data.test}) == 20_000, "a gloss that is there twice could be on both sides"
    assert is_test("playing golf") == is_test("playing golf")
    assert all(map(is_test, data.test))
    assert not any(map(is_test, data.train))
    # Written down, so that a change of the corpus or of the split, after which no run continues, is noticed.
    assert data.fingerprint() == "d79962bf6dbbfc21"
    licence = (Path(text_data.__file__).parent / "corpus" / "LICENSE.wordnet").read_text()
    assert "Princeton University" in licence
    assert (Path(text_data.__file__).parent / "corpus" / "wordnet_glosses.tsv.gz").stat().st_size < 2**20


def script():
    spec = importlib.util.spec_from_file_location("wordnet_glosses", ROOT / "docs" / "wordnet_glosses.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_glosses_are_read_from_wordnet_without_examples(end, tmp_path):
    lines = [
        "  1 This software and database is being provided to you, the LICENSEE, by  ",
        "00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 | that which is perceived (living or nonliving)  ",
        '00002452 05 n 01 thing 0 000 | a separate entity; "it is  a thing"; "so; is this"  ',
        '00002684 28 n 01 range 0 000 | a complete extent:  "a face that expressed a gamut"  ',
        '00002700 10 n 01 quote 0 000 | a report (e.g., "he said `I am a fool\'")  ',
        "00002701 18 n 01 again 0 000 | a separate entity  ",
        '00002702 18 n 01 example 0 000 | "only an example"  ',
    ]
    path = tmp_path / "data.noun"
    path.write_bytes((end.join(lines) + end).encode())
    assert script().synsets(path) == [
        ("00002452", "animal", "a separate entity"),
        ("00002684", "time", "a complete extent"),
        ("00002700", "communication", 'a report (e.g., "he said `I am a fool\'")'),
    ]


def test_the_script_writes_the_same_bytes_again(tmp_path, monkeypatch):
    module = script()
    path = tmp_path / "data.noun"
    path.write_text("".join(f"{n:08} {4 + n % 25:02} n 01 w 0 000 | gloss number {n}  \n" for n in range(50)))
    monkeypatch.setattr("sys.argv", ["wordnet_glosses.py", str(path)])
    monkeypatch.setattr(module, "COUNT", 20)
    written = []
    for name in ("a", "b"):
        monkeypatch.setattr(module, "TARGET", tmp_path / name / "sample.gz")
        module.main()
        written.append((tmp_path / name / "sample.gz").read_bytes())
    assert written[0] == written[1]
    monkeypatch.setattr(text_data, "files", lambda package: tmp_path)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "wordnet_glosses.tsv.gz").write_bytes(written[0])
    sample = load_glosses()
    assert len(sample.train) + len(sample.test) == 20
    for text, label in zip(sample.train, sample.train_labels.tolist(), strict=True):
        assert sample.classes[label] == module.CLASSES[1 + int(text.split()[-1]) % 25]


def test_a_text_is_a_line_that_is_not_blank(tmp_path):
    path = tmp_path / "texts.log"  # any name, where it is given by its own
    lines = [f"text {number}" for number in range(150)]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n  ".join([*lines, "\u00e9t\u00e9\u2028still the same", ""]).encode())
    data = load_text_files(path)
    assert sorted(data.train + data.test) == sorted([*lines, "\u00e9t\u00e9\u2028still the same"])
    assert (data.train_labels, data.classes, data.name) == (None, (), str(path))
    assert 10 < len(data.test) < 60


def test_a_longer_file_moves_no_text_to_the_other_side(tmp_path):
    path = tmp_path / "texts.txt"
    lines = [f"text {number}" for number in range(300)]
    found = []
    for count in (200, 300):
        path.write_text("\n".join(lines[:count]))
        found.append(load_text_files(path))
    assert set(found[0].test) < set(found[1].test)
    assert set(found[0].train) < set(found[1].train)


def test_sub_folders_are_classes_where_all_files_lie_in_one(tmp_path):
    write_texts(tmp_path)
    (tmp_path / "animal" / "picture.png").write_bytes(b"\xff not a text")
    data = load_text_files(tmp_path)
    assert data.classes == ("animal", "person")
    assert torch.cat([data.train_labels, data.test_labels]).bincount().tolist() == [120, 120]
    (tmp_path / "more.txt").write_text("one more text")
    unlabelled = load_text_files(tmp_path)
    assert unlabelled.train_labels is None
    assert len(unlabelled.train) + len(unlabelled.test) == 241


def test_a_file_that_is_not_utf8_is_named_or_skipped(tmp_path):
    write_texts(tmp_path)
    (tmp_path / "person" / "latin.txt").write_bytes("caf\u00e9".encode("latin-1") + b" au lait\n")
    with pytest.raises(UserError, match=r"cannot read .*latin\.txt \(not UTF-8: byte 0xe9 at 3\); --skip-unreadable"):
        load_text_files(tmp_path)
    data = load_text_files(tmp_path, skip_unreadable=True)
    assert data.skipped == ("person/latin.txt",)
    assert data.classes == ("animal", "person")
    config = resolve({"method": "mlm", "data": str(tmp_path), "skip_unreadable": True})
    assert load_texts(config).fingerprint() == data.fingerprint()


def test_too_little_text_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"--data: no such file or folder: .*absent"):
        load_text_files(tmp_path / "absent")
    with pytest.raises(UserError, match=r"--data: no text \(\.txt\) in the folder"):
        load_text_files(tmp_path)
    for content, count in (("", "no"), (" \n\n", "no"), ("one\ntwo\n", "2")):
        (tmp_path / "few.txt").write_text(content)
        for path in (tmp_path, tmp_path / "few.txt"):
            with pytest.raises(UserError, match=f"--data: {count} texts in .*, at least 100 are needed; a text is a"):
                load_text_files(path)


def test_texts_that_are_all_the_same_are_an_error(tmp_path):
    (tmp_path / "same.txt").write_text("the same text\n" * 150)
    with pytest.raises(UserError, match=r"keeps (0|150) for testing and .*, at least 5 are needed of each; are they"):
        load_text_files(tmp_path)


def test_fingerprint_covers_texts_and_labels_of_both_parts():
    data = load_glosses()
    found = {data.fingerprint()}
    for part in ("train_labels", "test_labels"):
        changed = getattr(data, part).clone()
        changed[5] += 1
        found |= {replace(data, **{part: changed}).fingerprint(), replace(data, **{part: None}).fingerprint()}
    moved = replace(data, train=data.train + data.test[:1], test=data.test[1:])
    found |= {moved.fingerprint(), replace(data, test=data.test[::-1]).fingerprint()}
    assert len(found) == 7


def test_described_says_what_the_report_shows(tmp_path):
    write_texts(tmp_path)
    data = load_text_files(tmp_path)
    described = data.described()
    assert described["train_texts"] + described["test_texts"] == 240
    assert described["train_words"] == sum(len(text.split()) for text in data.train)
    assert described["classes"] == ["animal", "person"]


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"data": "digits"}, "--method mlm, got 'digits', which is for --method simclr or masked-pixels or mae"),
        ({"data": "glossses"}, "no such file or folder: 'glossses' (did you mean 'glosses'?)"),
        ({"method": "mae"}, "or a folder of images with --method mae, got 'glosses', which is for --method mlm"),
        ({"patch_size": 4, "hflip": 0.5}, "--hflip, --patch-size: not for --method mlm, which takes texts"),
        ({"method": "mae", "data": "digits", "depth": 2}, "--depth: not for --method mae, which takes images"),
        ({"method": "simclr", "data": "digits", "whole_words": True}, "--whole-words: not for --method simclr"),
        ({"vocab_size": 99}, "--vocab-size must be between 100 and 1048576, got 99"),
        ({"max_length": 3}, "--max-length must be between 4 and 4096, got 3"),
        ({"depth": 0}, "--depth must be at least 1, got 0"),
        ({"width": 33}, "--width must be even with --method mlm, got 33"),
        ({"mask_ratio": 1.0}, "--mask-ratio must be between 0 and 1, both excluded, got 1.0"),
    ],
)
def test_a_bad_setting_is_named(given, part):
    with pytest.raises(UserError, match=r"^pretrain: ") as caught:
        resolve({**MLM, **given})
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_path_of_a_file_is_kept_absolute_and_images_take_none(tmp_path, monkeypatch):
    (tmp_path / "book.txt").write_text("text")
    monkeypatch.chdir(tmp_path)
    saved = resolve({"method": "mlm", "data": "book.txt"}).to_dict()
    assert saved["data"] == str(tmp_path / "book.txt")
    assert changed_settings(saved, {"data": "book.txt"}) == []
    with pytest.raises(UserError, match=r"or a folder of images; not a folder: 'book\.txt'"):
        resolve({"method": "mae", "data": "book.txt"})
