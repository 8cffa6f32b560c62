"""A run that is really interrupted and resumed ends with the weights of the run that was not, bit for bit."""

import csv
import json
import signal
import subprocess
import sys
import time

import pytest
import torch

pytest.importorskip("lightning")

from sslfast.pretrain import main
from sslfast.pretrain.checkpoints import read_checkpoint
from sslfast.pretrain.files import write_atomically
from sslfast.pretrain.masked_pixels import MaskedPixels
from sslfast.pretrain.progress import COLUMNS, complete_rows

PROGRAM = [sys.executable, "-c", "import sys; from sslfast.pretrain import main; sys.exit(main())"]
# The same, but it kills itself at the start of a step.
KILLED = """
import os, signal, sys
from sslfast.pretrain import main
from sslfast.pretrain.masked_pixels import MaskedPixels
loss = MaskedPixels.loss
def dies(self, images, seed):
    if self.training and self.global_step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
    return loss(self, images, seed)
MaskedPixels.loss = dies
sys.exit(main())
"""
# Dropout draws from torch's own generator, so it is on: its draws must be repeated as well.
SMALL = [
    "--data", "digits", "--width", "8", "--batch-size", "128", "--epochs", "12", "--dropout", "0.2", "--device", "cpu",
]  # fmt: skip


def pretrain(out, method, *options):
    return ["pretrain", "--method", method, "--out", str(out), *SMALL, *options]


def _heed_sigint():
    """What a shell starts in the background ignores SIGINT, and so would what it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupt(arguments, run_dir, kill):
    """Starts a run in a process of its own and sends it a signal as soon as an epoch is complete."""
    process = subprocess.Popen(
        PROGRAM + arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_sigint,
    )
    last = run_dir / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 60
    while not last.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(kill)
    _, errors = process.communicate(timeout=60)
    assert not (run_dir / "encoder.pt").exists(), "the run ended before the signal came"
    return process.returncode, errors


def columns(run_dir):
    """What the log says of every step, without the timings."""
    with open(run_dir / "metrics.csv", newline="") as file:
        names = ("epoch", "step", "train_loss", "lr", "update_ratio", "val_loss")
        return [tuple(row[name] for name in names) for row in csv.DictReader(file)]


def assert_same_bits(run_dir, other):
    first, second = (read_checkpoint(folder / "checkpoints" / "last.ckpt") for folder in (run_dir, other))
    assert first["global_step"] == second["global_step"] == 12 * (1077 // 128)
    for name, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][name]), name
    moments = zip(first["optimizer_states"], second["optimizer_states"], strict=True)
    for one, two in ((one["state"], two["state"]) for one, two in moments):
        assert one.keys() == two.keys()
        for parameter, state in one.items():
            assert all(torch.equal(value, two[parameter][key]) for key, value in state.items())
    encoders = [torch.load(folder / "encoder.pt", weights_only=True)["state_dict"] for folder in (run_dir, other)]
    assert all(torch.equal(value, encoders[1][name]) for name, value in encoders[0].items())
    assert columns(run_dir) == columns(other)


@pytest.mark.parametrize(
    ("method", "kill"), [("simclr", signal.SIGKILL), ("masked-pixels", signal.SIGINT), ("mae", signal.SIGKILL)]
)
def test_interrupted_run_continues_exactly(tmp_path, method, kill, capsys):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    returned, errors = interrupt(pretrain(cut, method), cut, kill)
    if kill == signal.SIGINT:
        assert returned == 130
        line = f"sslfast: interrupted; sslfast pretrain --out {cut} --resume continues after the last complete epoch"
        assert errors.strip() == line
    assert main(["pretrain", "--out", str(cut), "--resume"]) == 0
    assert "resuming" in capsys.readouterr().out
    assert main(pretrain(whole, method)) == 0
    assert_same_bits(cut, whole)


def test_kills_in_resumed_epochs_lose_no_row_of_the_log(tmp_path):
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    resume = ["pretrain", "--out", str(cut), "--resume"]
    for step, arguments in ((19, pretrain(cut, "masked-pixels", "--epochs", "3")), (21, resume)):
        done = subprocess.run([sys.executable, "-c", KILLED.format(step=step), *arguments], timeout=60)
        assert done.returncode == -signal.SIGKILL
        steps = [int(row["step"]) for row in complete_rows(cut / "metrics.csv")]
        assert steps == [*range(8), 7, *range(8, 16), 15]  # two epochs, each with a row of its own
        with open(cut / "metrics.csv", "a") as file:
            file.write("2,1")  # torn from "2,16,...", and not step 1
    assert main(resume) == 0
    assert main(pretrain(whole, "masked-pixels", "--epochs", "3")) == 0
    assert columns(cut) == columns(whole)


def test_torn_rows_are_left_out(tmp_path):
    path, row = tmp_path / "metrics.csv", "0,3,2.5,0.001,0.02,,,,\r\n"
    for torn in ("0,4", "0,4\r\n", "0,4,2.5,0.001,0.02,,800,0.0", "0,0,4,2.5,0.001,0.02,,800,0.01,\r\n"):
        path.write_text(",".join(COLUMNS) + "\r\n" + row + torn, newline="")
        assert [kept["step"] for kept in complete_rows(path)] == ["3"], torn


def test_run_killed_before_its_first_checkpoint_starts_again(tmp_path):
    assert main(pretrain(tmp_path / "a", "masked-pixels", "--epochs", "1")) == 0
    before = (tmp_path / "a" / "encoder.pt").read_bytes()
    for name in ("encoder.pt", "checkpoints/last.ckpt", "checkpoints/best.ckpt"):
        (tmp_path / "a" / name).unlink()
    assert main(["pretrain", "--out", str(tmp_path / "a"), "--resume"]) == 0
    assert (tmp_path / "a" / "encoder.pt").read_bytes() == before


def test_early_stopping_stops_and_stays_stopped(tmp_path, capsys):
    # Weights that cannot move and no running statistics: the validation loss never falls after the first time.
    out = tmp_path / "run"
    options = ["--optimizer", "sgd", "--lr", "1e-30", "--norm", "group", "--patience", "2", "--dropout", "0"]
    assert main(pretrain(out, "masked-pixels", *options)) == 0
    assert "stopped early after epoch 3: 2 validations without a lower loss" in capsys.readouterr().out
    log = columns(out)
    assert {row[0] for row in log} == {"0", "1", "2"}
    assert len({row[5] for row in log if row[5]}) == 1
    (out / "encoder.pt").unlink()
    assert main(["pretrain", "--out", str(out), "--resume"]) == 0
    assert (out / "encoder.pt").exists()
    assert columns(out) == log


def test_nan_loss_stops_with_one_line_and_keeps_the_last_good_checkpoint(tmp_path, capsys, monkeypatch):
    loss = MaskedPixels.loss

    def breaks_at_step_20(self, images, seed):
        return loss(self, images, seed) * (float("nan") if self.training and self.global_step == 20 else 1.0)

    monkeypatch.setattr(MaskedPixels, "loss", breaks_at_step_20)
    assert main(pretrain(tmp_path / "run", "masked-pixels")) == 2
    message = capsys.readouterr().err.strip()
    assert message.count("\n") == 0
    assert message.startswith("sslfast: pretrain: the loss became nan in epoch 2, step 20; the last good checkpoint")
    checkpoint = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert checkpoint["global_step"] == 16
    assert all(torch.isfinite(value).all() for value in checkpoint["state_dict"].values())


def test_nan_in_the_first_epoch_is_mended_in_the_same_folder(tmp_path, capsys, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def breaks_at_step_3(self, images, seed):
        return loss(self, images, seed) * (float("nan") if self.training and self.global_step == 3 else 1.0)

    loss, out = MaskedPixels.loss, tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(MaskedPixels, "loss", breaks_at_step_3)
        assert main(pretrain(out, "masked-pixels", "--epochs", "1")) == 2
    message = capsys.readouterr().err
    assert "became nan in epoch 0, step 3; no checkpoint was written yet; a lower --lr" in message
    assert message.endswith("(the same --out starts anew)\n")
    again = pretrain(out, "masked-pixels", "--epochs", "1", "--lr", "1e-4")
    assert main(again) == 0
    assert f"{out} holds no complete epoch: starting anew" in capsys.readouterr().out
    assert json.loads((out / "config.json").read_text())["settings"]["lr"] == 1e-4
    assert [row[1] for row in columns(out)] == [*map(str, range(8)), "7"]
    board = EventAccumulator(str(out / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("train_loss")] == list(range(8))
    assert main(again) == 2
    assert "already holds a run" in capsys.readouterr().err


def test_nan_validation_loss_stops_before_its_checkpoint(tmp_path, capsys, monkeypatch):
    loss = MaskedPixels.loss

    def breaks_in_epoch_1(self, images, seed):
        return loss(self, images, seed) * (1.0 if self.training or self.current_epoch == 0 else float("nan"))

    monkeypatch.setattr(MaskedPixels, "loss", breaks_in_epoch_1)
    assert main(pretrain(tmp_path / "run", "masked-pixels", "--patience", "1")) == 2
    message = capsys.readouterr().err
    assert "the validation loss became nan in epoch 1, step 16; the last good checkpoint, after epoch 0" in message
    assert read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 8


def test_resume_refuses_changed_settings_and_changed_data(tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    assert main(pretrain(out, "masked-pixels", "--epochs", "1")) == 0
    assert main(["pretrain", "--out", str(out), "--resume"]) == 0
    assert "already complete" in capsys.readouterr().out
    assert main(["pretrain", "--out", str(out), "--resume", "--lr", "0.3", "--seed", "4"]) == 2
    assert capsys.readouterr().err.strip().endswith("with other settings: --seed was 0, now 4; --lr was 0.002, now 0.3")
    (out / "encoder.pt").unlink()
    monkeypatch.setattr("sslfast.pretrain.image_data.DIGITS_TRAIN", 1000)
    assert main(["pretrain", "--out", str(out), "--resume"]) == 2
    assert "the images of digits have changed" in capsys.readouterr().err


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))

    def fails(file):
        file.write(b"half of the new")
        raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        write_atomically(path, fails)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
