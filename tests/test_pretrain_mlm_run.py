"""Runs of the masked language model by the command line: from texts to the report, interrupted, resumed, refused."""

import importlib.util
import json
import shutil

import pytest
import torch

pytest.importorskip("lightning")
pytest.importorskip("transformers")

from test_pretrain_text_data import write_texts

from sslfast.pretrain import encoder_file, load_encoder, main
from sslfast.pretrain.checkpoints import read_checkpoint
from sslfast.pretrain.comparison import LINEAR, PRETRAINED, RANDOM, TEXT_ROWS, TFIDF
from sslfast.pretrain.data import load_run_data
from sslfast.pretrain.files import read_run
from sslfast.pretrain.methods import load_method
from sslfast.pretrain.mlm import MLM
from sslfast.pretrain.progress import complete_rows

TINY = [
    "--width", "16", "--depth", "1", "--vocab-size", "400", "--max-length", "24", "--lr", "5e-3", "--device", "cpu",
    "--dropout", "0.1", "--batch-size", "16", "--log-every", "1",
]  # fmt: skip


def pretrain(data, out, *options):
    return ["pretrain", "--method", "mlm", "--data", str(data), "--out", str(out), *TINY, *options]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    write_texts(folder, count=400)
    return folder


@pytest.fixture(scope="module")
def trained(texts, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "mlm"
    assert main(pretrain(texts, out, "--epochs", "6")) == 0
    return out


@pytest.fixture(scope="module")
def evaluated(trained):
    assert main(["evaluate", str(trained), "--labels", "1,5", "--seeds", "2"]) == 0
    return json.loads((trained / "evaluation.json").read_text())


def columns(run_dir):
    names = ("epoch", "step", "train_loss", "lr", "update_ratio", "val_loss", "val_accuracy")
    return [tuple(row[name] for name in names) for row in complete_rows(run_dir / "metrics.csv")]


def test_run_folder_and_log(trained):
    for name in ("config.json", "tokenizer.json", "checkpoints/last.ckpt", "metrics.csv", "encoder.pt"):
        assert (trained / name).is_file(), name
    run = read_run(trained)
    assert run["data"]["classes"] == ["animal", "person"]
    assert run["data"]["train_texts"] + run["data"]["test_texts"] == 400
    validated = [row for row in complete_rows(trained / "metrics.csv") if row["val_loss"]]
    assert len(validated) == 6
    assert float(validated[-1]["val_loss"]) < float(validated[0]["val_loss"])
    assert all(0 <= float(row["val_accuracy"]) <= 1 for row in validated)


def test_validation_loss_is_the_mean_over_tokens_not_over_batches(trained):
    run = read_run(trained)
    data = load_run_data(trained, run, "test")
    module = load_method(trained, data)
    from sslfast.pretrain.text_batches import text_loaders

    batches = list(text_loaders(module.config, data, module.encoder.vocabulary)[1])
    with torch.no_grad():
        losses = torch.cat(
            [
                torch.nn.functional.cross_entropy(
                    module.logits(batch).flatten(0, 1), batch["labels"].flatten(), reduction="none", ignore_index=-100
                )[batch["masked_indices"]]
                for batch in batches
            ]
        )
    logged = [float(row["val_loss"]) for row in complete_rows(trained / "metrics.csv") if row["val_loss"]]
    assert losses.mean().item() == pytest.approx(min(logged), rel=1e-4)


def test_evaluation_has_every_row_and_the_language_model(evaluated):
    found = {(row["protocol"], row["features"], row["labels"]) for row in evaluated["summary"]}
    assert found == {(*row, labels) for row in TEXT_ROWS for labels in (1, 5)}
    for name in (TFIDF, RANDOM, PRETRAINED):
        (entry,) = (
            row
            for row in evaluated["summary"]
            if (row["protocol"], row["features"], row["labels"]) == (LINEAR, name, 5)
        )
        assert 0.4 < entry["accuracy"] <= 1
    assert evaluated["test_texts"] == sum(map(sum, evaluated["confusion"]["matrix"])) // 2
    (judged,) = evaluated["language_model"]
    assert judged["masked_tokens"] > 200
    assert judged["perplexity"] < judged["unigram_perplexity"]


def test_report_of_texts(evaluated, trained):
    assert main(["report", str(trained)]) == 0
    text = (trained / "report.html").read_text()
    for part in (
        "Masked language model on", "training and", "test texts", "words to train on", "Predicting masked tokens",
        "The perplexity of masked tokens", "unigram distribution of the training texts", "TF-IDF of the words",
        "one on TF-IDF", "same encoder, random weights", "What the method saw", "texts per second", "(perplexity ",
        "A seed draws the labelled texts and the random weights; there is one pretraining run.",
    ):  # fmt: skip
        assert part in text, part
    for part in ("images", "fine-tun", "from scratch"):
        assert part not in text, part
    assert {path.name for path in trained.glob("*.png")} == {
        "labels.png",
        "embedding.png",
        "confusion.png",
        "curves.png",
    }


def test_loaded_encoder_takes_texts(trained):
    encoder = load_encoder(trained)
    features = encoder(["an animal", "a person who acts"])
    assert features.shape == (2, encoder.dim) == (2, 32)
    assert not encoder.training


def test_an_interrupted_run_continues_exactly(texts, trained, tmp_path, monkeypatch, capsys):
    loss, cut = MLM.loss, tmp_path / "cut"

    def interrupted(self, batch, seed):
        if self.training and self.global_step == 50:
            raise KeyboardInterrupt
        return loss(self, batch, seed)

    with monkeypatch.context() as patch:
        patch.setattr(MLM, "loss", interrupted)
        assert main(pretrain(texts, cut, "--epochs", "6")) == 130
    assert not (cut / "encoder.pt").exists()
    assert main(["pretrain", "--out", str(cut), "--resume"]) == 0
    assert f"resuming {cut} after epoch" in capsys.readouterr().out
    first, second = (read_checkpoint(folder / "checkpoints" / "last.ckpt") for folder in (cut, trained))
    assert first["global_step"] == second["global_step"]
    for name, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][name]), name
    encoders = [load_encoder(folder).state_dict() for folder in (cut, trained)]
    assert all(torch.equal(value, encoders[1][name]) for name, value in encoders[0].items())
    assert columns(cut) == columns(trained)
    assert (cut / "tokenizer.json").read_bytes() == (trained / "tokenizer.json").read_bytes()


def test_resume_refuses_other_texts_settings_and_a_lost_vocabulary(texts, trained, tmp_path, capsys):
    out, changed = tmp_path / "run", tmp_path / "changed"
    shutil.copytree(trained, out)
    (out / "encoder.pt").unlink()
    assert main(["pretrain", "--out", str(out), "--resume", "--depth", "3"]) == 2
    assert "was started with other settings: --depth was 1, now 3" in capsys.readouterr().err
    (out / "tokenizer.json").rename(out / "elsewhere.json")
    assert main(["pretrain", "--out", str(out), "--resume"]) == 2
    assert f"{out} holds no vocabulary (no tokenizer.json)" in capsys.readouterr().err
    (out / "elsewhere.json").rename(out / "tokenizer.json")
    shutil.copytree(texts, changed)
    config = json.loads((out / "config.json").read_text())
    config["settings"]["data"] = str(changed)
    (out / "config.json").write_text(json.dumps(config))
    with open(changed / "animal" / "lines.txt", "a") as file:
        file.write("one more text\n")
    for command in (["pretrain", "--out", str(out), "--resume"], ["report", str(out)]):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert f"the texts of {changed} have changed since {out} was started" in error
        assert error.count("\n") == 1


def test_nan_loss_stops_with_one_line(texts, tmp_path, monkeypatch, capsys):
    loss = MLM.loss

    def breaks(self, batch, seed):
        return loss(self, batch, seed) * (float("nan") if self.training and self.global_step == 3 else 1.0)

    monkeypatch.setattr(MLM, "loss", breaks)
    assert main(pretrain(texts, tmp_path / "run", "--epochs", "2")) == 2
    error = capsys.readouterr().err
    assert "the loss became nan in epoch 0, step 3" in error
    assert error.count("\n") == 1


def test_a_file_without_labels_whole_words_and_half_precision(texts, tmp_path, capsys):
    path, out = tmp_path / "book.txt", tmp_path / "run"
    path.write_text("".join((texts / name / "lines.txt").read_text() for name in ("animal", "person")))
    options = ["--epochs", "2", "--whole-words", "--precision", "bf16-mixed"]
    assert main(pretrain(path, out, *options)) == 0
    assert main(["evaluate", str(out), "--seeds", "1"]) == 0
    printed = capsys.readouterr().out
    assert "no class labels (one sub-folder per class gives them): only the features are judged" in printed
    assert "masked tokens of test texts" in printed
    assert main(["report", str(out)]) == 0
    text = (out / "report.html").read_text()
    assert "Predicting masked tokens" in text
    assert "What pretraining was worth" not in text


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--data", "texts", "--patch-size", "4"], "--patch-size: not for --method mlm, which takes texts"),
        (["--data", "digits"], "got 'digits', which is for --method simclr or masked-pixels or mae"),
        (["--data", "texts", "--method", "mae"], "no image (.jpg, .jpeg, .png) in the folder"),
        (["--data", "glosses", "--method", "simclr"], "got 'glosses', which is for --method mlm"),
        (["--data", "latin"], "not UTF-8: byte 0xe9 at 3); --skip-unreadable leaves such files out"),
        (["--data", "empty.txt"], "--data: no texts in"),
        (["--data", "one.txt"], "--data: 1 text in"),
        (["--data", "texts", "--batch-size", "1000"], "--batch-size 1000 is larger than the data:"),
        (["--data", "texts", "--vocab-size", "5"], "--vocab-size must be between 100 and 1048576, got 5"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, line, texts, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(texts, tmp_path / "texts")
    (tmp_path / "latin").mkdir()
    (tmp_path / "latin" / "a.txt").write_bytes(b"caf\xe9\n")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "one.txt").write_text("a line\n")
    before = sorted(tmp_path.rglob("*"))
    assert main(["pretrain", "--method", "mlm", "--out", "x", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("sslfast: ")
    assert error.count("\n") == 1
    assert line in error
    assert sorted(tmp_path.rglob("*")) == before, "a mistake must leave the folders as they were"


def test_missing_transformers_is_named_in_one_line(texts, trained, tmp_path, monkeypatch, capsys):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        encoder_file.importlib.util, "find_spec", lambda name: None if name == "transformers" else find_spec(name)
    )
    assert main(pretrain(texts, tmp_path / "run")) == 2
    assert "pretrain: transformers not installed, which --method mlm needs; in the" in capsys.readouterr().err
    assert main(["evaluate", str(trained)]) == 2
    assert "load_encoder: transformers not installed" in capsys.readouterr().err
    assert main(["report", str(trained)]) == 2
    assert "report: transformers not installed" in capsys.readouterr().err
