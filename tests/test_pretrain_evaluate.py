"""The probes against known answers, the verdict on collapse, and the comparison and report of a real run."""

import base64
import copy
import io
import json
import re
import shutil
from concurrent.futures import Future

import pytest
import torch

pytest.importorskip("lightning")
from rich.console import Console
from test_pretrain_data import write_images

from sslfast.pretrain import demo, load_encoder, main, report
from sslfast.pretrain import finetune as finetune_module
from sslfast.pretrain.comparison import LINEAR, PRETRAINED, RANDOM, RAW, ROWS, best_rows, summarise
from sslfast.pretrain.config import PretrainConfig
from sslfast.pretrain.evaluate import random_encoder
from sslfast.pretrain.figures import read_metrics
from sslfast.pretrain.image_data import load_digits
from sslfast.pretrain.page import page, summary_table
from sslfast.pretrain.probe import (
    ALL,
    draw_labels,
    effective_rank,
    judge_collapse,
    linear_probe,
    nearest_neighbours,
    scores,
    spread,
)
from sslfast.pretrain.verdict import compare, verdict_sentences


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_effective_rank_of_known_spectra():
    assert effective_rank(torch.eye(12)) == pytest.approx(12)
    assert effective_rank(torch.ones(50, 8)) == pytest.approx(1, abs=1e-6)
    assert effective_rank(torch.diag(torch.tensor([0.5, 0.25, 0.25]))) == pytest.approx(2**1.5)
    assert effective_rank(torch.zeros(4, 3)) == 1


def test_spread_is_zero_on_a_point_and_near_one_on_the_sphere():
    assert spread(torch.ones(50, 8)) == pytest.approx(0, abs=1e-6)
    assert spread(normal(2000, 32)) == pytest.approx(1, abs=0.02)


def test_collapse_verdicts():
    isotropic = judge_collapse(normal(500, 64))
    assert isotropic["state"] == "ok"
    assert isotropic["effective_rank"] > 50
    point = torch.ones(500, 64) + 1e-4 * normal(500, 64)
    assert judge_collapse(point)["state"] == "collapsed"
    assert judge_collapse(point)["verdict"].startswith("Collapsed: all inputs get nearly the same feature")
    # Spread over the sphere, but along two directions of 64.
    plane = normal(500, 2) @ normal(2, 64)
    assert judge_collapse(plane)["state"] == "partial"
    assert judge_collapse(torch.full((5, 4), float("nan")))["verdict"].startswith("Broken")


def test_labels_are_drawn_per_class_and_nested():
    labels = torch.arange(10).repeat_interleave(30)
    one, five = draw_labels(labels, 1, seed=3), draw_labels(labels, 5, seed=3)
    assert labels[five].bincount().tolist() == [5] * 10
    assert set(one.tolist()) < set(five.tolist())
    assert draw_labels(labels, 5, seed=4).tolist() != five.tolist()
    assert len(draw_labels(labels, 99, seed=3)) == len(draw_labels(labels, ALL, seed=3)) == 300


def test_probes_find_separable_classes_and_scores_count_right():
    labels = torch.arange(3).repeat(40)
    features = normal(120, 6) * 0.3 + torch.eye(3, 6)[labels] * 4
    for classify in (linear_probe, nearest_neighbours):
        assert torch.equal(classify(features[:60], labels[:60], features[60:]), labels[60:])
    counted = scores(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1]), classes=3)
    assert counted["accuracy"] == 0.75
    assert counted["precision"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert counted["recall"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert counted["confusion"] == [[1, 0, 0], [1, 2, 0], [0, 0, 0]]


def test_fine_tuning_learns_and_leaves_its_starting_point_alone(tmp_path, trained):
    encoder, digits = load_encoder(trained), load_digits()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    config = finetune_module.PretrainConfig(**json.loads((trained / "config.json").read_text())["settings"])
    picked = draw_labels(digits.train_labels, 10, seed=0)

    def accuracy(steps):
        predicted = finetune_module.finetune(
            encoder, config, digits.train[picked], digits.train_labels[picked], digits.test,
            classes=10, seed=0, steps=steps,
        )  # fmt: skip
        return float((predicted == digits.test_labels).float().mean())

    assert accuracy(0) < 0.3
    assert accuracy(40) > 0.6
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_summary_is_mean_and_sample_deviation_and_best_is_the_highest():
    rows = [
        {"protocol": LINEAR, "features": name, "labels": 1, "seed": seed, "accuracy": a, "precision": a, "recall": a}
        for name, values in ((RAW, (0.5, 0.7)), (PRETRAINED, (0.8, 0.9)))
        for seed, a in enumerate(values)
    ]
    raw, pretrained = summarise(rows, [1])
    assert (raw["accuracy"], raw["accuracy_std"]) == (pytest.approx(0.6), pytest.approx(0.1414, abs=1e-4))
    assert best_rows({"labels_per_class": [1], "summary": [raw, pretrained]}) == {1: (LINEAR, PRETRAINED)}


def test_comparison_calls_only_clear_differences():
    def entry(mean, std):
        return {"accuracy": mean, "accuracy_std": std, "seeds": 3}

    assert compare(entry(0.95, 0.01), entry(0.80, 0.02)) == "better"
    assert compare(entry(0.80, 0.02), entry(0.95, 0.01)) == "worse"
    assert compare(entry(0.95, 0.02), entry(0.94, 0.02)) == "level"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """SimCLR on the digits for a few epochs of a narrow network."""
    out = tmp_path_factory.mktemp("runs") / "simclr & co"
    options = ["--width", "16", "--epochs", "12", "--device", "cpu"]
    assert main(["pretrain", "--method", "simclr", "--data", "digits", "--out", str(out), *options]) == 0
    return out


@pytest.fixture(scope="module")
def evaluated(trained):
    patch = pytest.MonkeyPatch()
    patch.setitem(finetune_module.finetune.__kwdefaults__, "steps", 5)
    try:
        assert main(["evaluate", str(trained), "--labels", "10,1,10", "--seeds", "2"]) == 0  # sorted, once each
    finally:
        patch.undo()
    return json.loads((trained / "evaluation.json").read_text())


def test_run_folder_holds_the_documented_files(trained):
    for name in ("config.json", "checkpoints/last.ckpt", "checkpoints/best.ckpt", "metrics.csv", "encoder.pt"):
        assert (trained / name).is_file(), name
    assert list((trained / "tensorboard").glob("events*"))


def test_loaded_encoder_takes_raw_images_and_is_the_trained_one(trained):
    encoder, digits = load_encoder(trained), load_digits()
    features = encoder(digits.test[:4])
    assert features.shape == (4, encoder.dim)
    assert not encoder.training
    assert torch.allclose(encoder.embed(digits.test[:4]), features, atol=1e-5)
    assert not torch.allclose(random_encoder(encoder, 0)(digits.test[:4]), features, atol=1e-2)


def test_evaluation_has_every_row_and_pretraining_beats_random_weights(evaluated):
    assert evaluated["labels_per_class"] == [1, 10]
    found = {(row["protocol"], row["features"], row["labels"]) for row in evaluated["summary"]}
    assert found == {(*row, labels) for row in ROWS for labels in (1, 10)}
    assert len(evaluated["results"]) == len(ROWS) * 2 * 2
    assert sum(map(sum, evaluated["confusion"]["matrix"])) == 2 * 600
    accuracy = {
        row["features"]: row["accuracy"]
        for row in evaluated["summary"]
        if (row["protocol"], row["labels"]) == (LINEAR, 10)
    }
    assert accuracy[PRETRAINED] > accuracy[RANDOM] + 0.05
    assert evaluated["representation"][PRETRAINED]["state"] == "ok"
    outcomes = verdict_sentences(evaluated)
    assert len(outcomes) == 6
    assert all(sentence.startswith(("With 1 label per class", "With 10 labels per class")) for _, sentence in outcomes)


def test_report_is_self_contained_and_its_pictures_lie_beside_it(evaluated, trained, capsys):
    assert main(["report", str(trained)]) == 0
    assert capsys.readouterr().out.strip() == f"report: {trained / 'report.html'}"
    text = (trained / "report.html").read_text()
    for part in (
        "SimCLR on digits", "What pretraining was worth", "The features", "What the method saw", "Training",
        "same encoder, random weights", "from scratch, same augmentation", "No collapse", "Settings, data and",
        "class=\"number best\"", "simclr &amp; co", "chosen with these test images in view",
    ):  # fmt: skip
        assert part in text, part
    embedded = [base64.b64decode(code) for code in re.findall(r"data:image/png;base64,([^\"]+)", text)]
    beside = {path.name: path.read_bytes() for path in trained.glob("*.png")}
    assert set(beside) == {"labels.png", "embedding.png", "confusion.png", "views.png", "curves.png"}
    assert sorted(embedded) == sorted(beside.values())
    assert all(content.startswith(b"\x89PNG") for content in embedded)
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)


def test_report_names_all_data_of_its_runs_and_compares_only_what_is_comparable(evaluated, trained):
    run = json.loads((trained / "config.json").read_text())
    text = page([run, run], "", [])
    assert text.count("1,197 training and 600 test images, 8\u00d78 pixels, grey.") == 1
    assert "<h1>Self-supervised pretraining on digits</h1>" in text
    assert "In short" in summary_table([run, run], [evaluated, evaluated])
    other = copy.deepcopy(run)
    other["data"].update(name="fashion-mnist", train_images=60_000, test_images=10_000, fingerprint="another")
    text = page([run, other], "", [])
    assert "<h1>Self-supervised pretraining on digits and fashion-mnist</h1>" in text
    assert "digits: 1,197 training and 600 test" in text
    assert "fashion-mnist: 60,000 training and 10,000 test" in text
    assert summary_table([run, other], [evaluated, evaluated]) == ""
    assert summary_table([run, run], [evaluated, {**evaluated, "labels_per_class": [1]}]) == ""


@pytest.mark.filterwarnings("error")
def test_training_section_copes_without_validation_and_without_rows(trained):
    class NoPictures:
        def add(self, name, figure, caption):
            return name

    config = PretrainConfig(**json.loads((trained / "config.json").read_text())["settings"])
    metrics = read_metrics(trained / "metrics.csv")
    assert "Lowest held-out loss" in report._training(config, metrics, NoPictures())[0]
    metrics["val_loss"][:] = float("nan")
    text = report._training(config, metrics, NoPictures())[0]
    assert "No validation; the encoder is the one of the last epoch." in text
    assert "nan" not in text
    empty = {name: column[:0] for name, column in metrics.items()}
    assert "metrics.csv holds no complete epoch" in report._training(config, empty, NoPictures())[0]


def test_demo_says_which_runs_it_reused(trained):
    finished = Future()
    finished.set_result(demo._pretrain("simclr", 0, trained))
    text = io.StringIO()
    demo._report_each({finished: trained}, 0.0, Console(file=text, width=1000))
    assert f"] reused {trained}" in text.getvalue()


def test_folder_of_images_from_pretraining_to_report(tmp_path, capsys, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    for labelled in (True, False):
        images, out = tmp_path / f"images{labelled}", tmp_path / f"run{labelled}"
        write_images(images, count=40, labelled=labelled)
        (images / "cat").mkdir(exist_ok=True)
        (images / "cat" / "broken.png").write_bytes(b"no")
        options = ["--epochs", "2", "--batch-size", "8", "--width", "8", "--image-size", "16", "--skip-unreadable"]
        options += ["--device", "cpu", "--data", images.name, "--out", str(out)]
        monkeypatch.chdir(tmp_path)
        assert main(["pretrain", "--method", "masked-pixels", *options]) == 0
        assert "skipped 1 unreadable images: cat/broken.png" in capsys.readouterr().out
        monkeypatch.chdir(tmp_path / "elsewhere")  # the path given was relative
        assert main(["evaluate", str(out), "--labels", "all,1,1", "--seeds", "1"]) == 0
        assert ("no class labels" in capsys.readouterr().out) == (not labelled)
        assert json.loads((out / "evaluation.json").read_text())["labels_per_class"] == [1, ALL]
        assert main(["report", str(out)]) == 0
        text = (out / "report.html").read_text()
        assert "1 images could not be decoded" in text
        assert ("What pretraining was worth" in text) == labelled
        assert "chosen with these test images in view" not in text
        assert (out / "reconstruction.png").is_file()
    capsys.readouterr()
    # A file more, and images of the pretraining would be among the test images.
    (images / "0.png").write_bytes((images / "00.png").read_bytes())
    for command in ("evaluate", "report"):
        assert main([command, str(out)]) == 2
        line = f"sslfast: {command}: the images of {images} have changed since {out} was started"
        assert capsys.readouterr().err.startswith(line)
    shutil.rmtree(images)
    assert main(["report", str(out)]) == 2
    assert f"folder not found: {images}" in capsys.readouterr().err
