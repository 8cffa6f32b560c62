"""The command line: one clear line and exit code 2 for every mistake, and what works without the extra."""

import subprocess
import sys

import pytest

pytest.importorskip("lightning")

import sslfast.pretrain
from sslfast.pretrain import main

DIGITS = ["pretrain", "--method", "simclr", "--data", "digits"]


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
        (
            ["pretrain", "--method", "mae", "--data", "empty", "--out", "x"],
            "no image (.jpg, .jpeg, .png) in the folder",
        ),
        ([*DIGITS, "--out", "file"], "--out file is a file, not a folder"),
        ([*DIGITS, "--out", "used"], "used already holds a run; --resume continues it"),
        (["evaluate", "used"], "used holds no finished run (no encoder.pt)"),
        (["evaluate", "empty"], "empty holds no run (no config.json)"),
        (["evaluate", "used", "--labels", "1,ten"], "--labels must be positive numbers or 'all'"),
        (["evaluate", "used", "--seeds", "0"], "--seeds must be at least 1, got 0"),
        (["report", "empty"], "empty holds no run (no config.json)"),
        (["report", "used"], "used holds no complete epoch yet"),
        (["report", "damaged"], "config.json is damaged"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, line, tmp_path, monkeypatch, capsys):
    from sslfast.pretrain.config import resolve
    from sslfast.pretrain.files import write_json

    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    settings = resolve({"method": "simclr", "data": "digits"}).to_dict()
    write_json(tmp_path / "used" / "config.json", {"settings": settings})
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text("{")
    before = sorted(tmp_path.rglob("*"))
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("sslfast: ")
    assert captured.err.count("\n") == 1
    assert line in captured.err
    assert sorted(tmp_path.rglob("*")) == before, "a mistake must leave the folders as they were"


def test_evaluating_runs_that_differ_in_more_than_the_seed_is_refused(tmp_path, capsys):
    from sslfast.pretrain.config import resolve
    from sslfast.pretrain.files import write_json

    for name, lr in (("a", 0.1), ("b", 0.2)):
        settings = resolve({"method": "simclr", "data": "digits", "lr": lr}).to_dict()
        write_json(tmp_path / name / "config.json", {"settings": settings})
    assert main(["evaluate", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "in more than the seed: lr" in capsys.readouterr().err


def test_missing_extra_is_named_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sslfast.pretrain, "_REQUIRED", ("typer", "no_such_package"))
    assert main(["pretrain", "--help"]) == 2
    message = "sslfast: no_such_package not installed; run: pip install 'sslfast[pretrain]'\n"
    assert capsys.readouterr().err == message


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
    for command in ("pretrain", "evaluate", "report", "demo", "doctor"):
        assert command in text
