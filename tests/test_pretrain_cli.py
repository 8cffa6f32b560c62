"""The command line: one clear line and exit code 2 for every mistake, and what works without the extra."""

import subprocess
import sys

import pytest
import torch

pytest.importorskip("lightning")

import sslfast.pretrain
from sslfast.pretrain import main
from sslfast.pretrain.data import load_data
from sslfast.pretrain.files import write_json
from sslfast.pretrain.loop import provenance
from sslfast.pretrain.settings import resolve

DIGITS = ["pretrain", "--method", "simclr", "--data", "digits"]
MAE = ["pretrain", "--method", "mae"]


def write_config(run_dir, **settings):
    """The config.json of a run that was just started."""
    config = resolve({"method": "simclr", "data": "digits"})
    content = {"settings": {**config.to_dict(), **settings}, **provenance(config, load_data(config))}
    write_json(run_dir / "config.json", content)
    return content


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["pretrian"], "No such command 'pretrian'. Did you mean 'pretrain'?"),
        ([*DIGITS, "--out", "x", "--epcohs", "3"], "no such option: --epcohs (did you mean --epochs?)"),
        ([*DIGITS, "--out", "x", "--epochs", "many"], "Invalid value for '--epochs'"),
        (["pretrain", "--method", "simclr"], "Missing option '--out'"),
        (["pretrain", "--out", "x"], "pretrain: missing --method and --data"),
        (["pretrain", "--out", "x", "--method", "maee", "--data", "digits"], "(did you mean 'mae'?)"),
        ([*DIGITS, "--out", "x", "--mask-ratio", "0"], "--mask-ratio must be between 0 and 1"),
        ([*DIGITS, "--out", "x", "--batch-size", "1100"], "--batch-size 1100 is larger than the data: 1077"),
        ([*DIGITS, "--out", "x", "--resume"], "pretrain --resume: nothing to resume in x (no config.json)"),
        ([*MAE, "--data", "empty", "--out", "x"], "no image (.jpg, .jpeg, .png) in the folder"),
        ([*MAE, "--data", "absent", "--out", "x"], "; folder not found: 'absent'"),
        ([*MAE, "--data", "file", "--out", "x"], "; not a folder: 'file'"),
        ([*MAE, "--data", "digits", "--out", "x", "--width", "3"], "--width must be even with --method mae, got 3"),
        ([*DIGITS, "--out", "x", "--erase-ratio", "0.99"], "--erase-ratio 0.99 keeps 0 of 16 patches"),
        ([*DIGITS, "--out", "x", "--threads", "100000"], "the CPUs of this machine, got 100000"),
        ([*DIGITS, "--out", "x", "--device", "cuda"], "--device cuda, but torch finds no GPU"),
        (["pretrain", "--out", "of-a-gpu", "--resume"], "--device cuda, but torch finds no GPU"),
        ([*DIGITS, "--out", "x", "--epochs", "3", "--val-every", "4"], "--val-every must be at most --epochs 3, got 4"),
        ([*DIGITS, "--out", "file"], "--out file is a file, not a folder"),
        ([*DIGITS, "--out", "used"], "used already holds a run; --resume continues it"),
        (["evaluate", "used"], "used holds no finished run (no encoder.pt)"),
        (["evaluate", "empty"], "empty holds no run (no config.json)"),
        (["evaluate", "used", "--labels", "1,ten"], "--labels must be positive numbers or 'all'"),
        (["evaluate", "used", "--seeds", "0"], "--seeds must be at least 1, got 0"),
        (["report", "empty"], "empty holds no run (no config.json)"),
        (["report", "begun"], "begun holds no complete epoch yet"),
        (["report", "damaged"], "config.json is damaged"),
        (["report", "nothing"], "config.json is damaged (it lacks settings.method, settings.data, data.name, ...)"),
        (["evaluate", "list"], "config.json is damaged (not the settings of a run)"),
        (["evaluate", "newer"], "config.json has an unknown setting 'temprature' (did you mean 'temperature'?)"),
        (["pretrain", "--out", "wrong", "--resume"], "(setting 'epochs' must be int, got '40')"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, line, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    write_config(tmp_path / "begun")
    write_config(tmp_path / "used", lr=1)  # a whole number is a number, too
    (tmp_path / "used" / "checkpoints").mkdir()
    (tmp_path / "used" / "checkpoints" / "last.ckpt").write_bytes(b"")
    write_config(tmp_path / "of-a-gpu", device="cuda")
    write_config(tmp_path / "newer", temprature=0.1)
    write_config(tmp_path / "wrong", epochs="40")
    for name, text in (("damaged", "{"), ("nothing", "{}"), ("list", "[]")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    before = sorted(tmp_path.rglob("*"))
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("sslfast: ")
    assert captured.err.count("\n") == 1
    assert line in captured.err
    assert sorted(tmp_path.rglob("*")) == before, "a mistake must leave the folders as they were"


def test_evaluating_runs_that_differ_in_more_than_the_seed_is_refused(tmp_path, capsys):
    for name, lr in (("a", 0.1), ("b", 0.2)):
        write_config(tmp_path / name, lr=lr)
    assert main(["evaluate", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "in more than the seed: lr" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "line"),
    [
        (None, "interrupted before the first epoch was complete; the same command starts anew"),
        ("config.json", "interrupted before the first epoch was complete; the same command starts anew"),
        ("checkpoints/last.ckpt", "interrupted; sslfast pretrain --out x --resume continues after the last complete"),
    ],
)
def test_an_interrupt_says_what_is_left(file, line, tmp_path, monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        if file:
            (tmp_path / "x" / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "x" / file).write_bytes(b"")
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    for place in ("loop.pretrain", "cli._import_lightning"):  # imports take seconds, too
        with monkeypatch.context() as patch:
            patch.setattr(f"sslfast.pretrain.{place}", interrupted)
            assert main([*DIGITS, "--out", "x"]) == 130
        assert capsys.readouterr().err.startswith(f"sslfast: {line}")


def test_missing_extra_is_named_in_one_line_and_the_version_needs_none(monkeypatch, capsys):
    assert main(["--version", "demo"]) == 0  # by typer
    monkeypatch.setattr(sslfast.pretrain, "_REQUIRED", ("typer", "no_such_package"))
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == 2 * f"sslfast {sslfast.__version__}\n"
    assert main(["pretrain", "--help"]) == 2
    command = "pip install --no-build-isolation '.[pretrain]'"
    assert capsys.readouterr().err == f"sslfast: no_such_package not installed; in the repository run: {command}\n"


@pytest.mark.parametrize("error", [ImportError("lib"), RuntimeError("lib"), TypeError("lib"), AttributeError("lib")])
def test_a_package_that_breaks_lightning_is_one_line(error, tmp_path, monkeypatch, capsys):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "lightning.pytorch":
                raise error

    monkeypatch.delitem(sys.modules, "lightning.pytorch", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    assert main(["pretrain", "--method", "simclr", "--data", "digits", "--out", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err.startswith("sslfast: cannot import lightning (lib); do the installed torchvision")


def test_doctor_needs_nothing_of_the_extra():
    code = (
        "import sys\n"
        "for name in ('lightning', 'typer', 'rich', 'sklearn', 'matplotlib', 'PIL'): sys.modules[name] = None\n"
        "from sslfast.pretrain import main\n"
        "sys.exit(main(['doctor']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "torch" in done.stdout


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for command in ("pretrain", "evaluate", "report", "demo", "doctor", "--version"):
        assert command in text
