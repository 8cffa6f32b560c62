"""Settings: defaults, checks that list every mistake, keyed seeds, the learning-rate schedule."""

import pytest

pytest.importorskip("lightning")

from sslfast.pretrain.config import UserError, keyed_seed, suggest
from sslfast.pretrain.pretraining import cosine_with_warmup
from sslfast.pretrain.settings import changed_settings, resolve


def test_defaults_of_the_method_and_data_give_way_to_what_the_user_gave():
    config = resolve({"method": "simclr", "data": "digits", "lr": 0.5})
    assert (config.lr, config.hflip, config.image_size, config.optimizer) == (0.5, 0.0, 8, "adamw")
    assert resolve({"method": "mae", "data": "digits"}).batch_size == 128


def test_all_mistakes_are_listed_in_one_line_with_suggestions():
    given = {
        "method": "simcrl", "data": "digts", "optimizer": "adamv", "lr": -1.0, "mask_ratio": 1.5, "dropout": 1.0,
        "epochs": 0, "norm": "bach",
    }  # fmt: skip
    with pytest.raises(UserError) as caught:
        resolve(given)
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "--method must be one of simclr, masked-pixels, mae, mlm, got 'simcrl' (did you mean 'simclr'?)",
        "folder not found: 'digts' (did you mean 'digits'?)",
        "got 'adamv' (did you mean 'adam'?)",
        "--lr must be positive, got -1.0",
        "--mask-ratio must be between 0 and 1, both excluded, got 1.5",
        "--dropout must be at least 0 and below 1, got 1.0",
        "--epochs must be at least 1, got 0",
        "(did you mean 'batch'?)",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"lr": float("nan")}, "--lr must be positive, got nan"),
        ({"mask_ratio": 0.0}, "--mask-ratio must be between 0 and 1"),
        ({"mask_ratio": 0.99}, "keeps 0 of 16 patches"),
        ({"patch_size": 3}, "--patch-size must divide --image-size 8, got 3"),
        ({"patch_size": 0}, "--patch-size must be at least 1, got 0"),
        ({"warmup_epochs": 40}, "--warmup-epochs must be zero or more and below --epochs 40, got 40"),
        ({"batch_size": 1}, "--batch-size must be at least 2, got 1"),
        ({"val_fraction": 0.9}, "--val-fraction must be above 0 and at most 0.5, got 0.9"),
        ({"norm": "group", "width": 6}, "--width must be a multiple of 4"),
        ({"temperature": 0.0}, "--temperature must be positive, got 0.0"),
        ({"method": "mae", "width": 33}, "--width must be even with --method mae, got 33"),
        ({"method": "simclr", "erase_ratio": 0.95}, "--erase-ratio 0.95 keeps 0 of 16 patches"),
        ({"method": "simclr", "erase_ratio": 0.5, "patch_size": 3}, "--patch-size must divide --image-size 8, got 3"),
        ({"method": "mae", "patch_size": 1}, "--patch-size must be at least 2 with --method mae, got 1"),
        ({"val_every": 41}, "--val-every must be at most --epochs 40, got 41"),
        ({"threads": 100000}, "the CPUs of this machine, got 100000"),
    ],
)
def test_a_bad_value_is_named(given, part):
    with pytest.raises(UserError, match=r"^pretrain: ") as caught:
        resolve({"method": "masked-pixels", "data": "digits", **given})
    assert part in str(caught.value)


def test_a_short_run_still_validates_and_unused_settings_are_not_judged():
    assert resolve({"method": "mae", "data": "digits", "epochs": 2}).val_every == 2
    assert resolve({"method": "mae", "data": "digits"}).val_every == 5
    assert resolve({"method": "masked-pixels", "data": "digits", "erase_ratio": 0.99, "width": 33}).width == 33
    assert resolve({"method": "simclr", "data": "digits", "erase_ratio": 0.9375}).erase_ratio == 0.9375  # keeps one


def test_the_path_of_a_folder_is_kept_absolute(tmp_path, monkeypatch):
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path)
    saved = resolve({"method": "simclr", "data": "pictures"}).to_dict()
    assert saved["data"] == str(tmp_path / "pictures")
    assert changed_settings(saved, {"data": "pictures"}) == []
    assert changed_settings(saved, {"data": "."}) == [f"--data was {tmp_path / 'pictures'}, now {tmp_path}"]


def test_missing_settings_are_named():
    with pytest.raises(UserError, match="missing --method and --data"):
        resolve({})


def test_suggestions_only_where_something_is_close():
    assert suggest("SimCLR", ["simclr", "mae"]) == " (did you mean 'simclr'?)"
    assert suggest("zzz", ["simclr", "mae"]) == ""


def test_keyed_seeds_depend_on_every_part_and_nothing_else():
    seeds = [keyed_seed(s, p, i) for s in (0, 1) for p in ("train", "shuffle") for i in (0, 1, 12)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    # Written down, so that a change of the rule, which would break resuming across versions, is noticed.
    assert keyed_seed(0, "train", 7) == 109321373591213633


def test_changed_settings_are_listed_and_equal_ones_are_not():
    saved = resolve({"method": "mae", "data": "digits"}).to_dict()
    assert changed_settings(saved, {"method": "mae", "lr": 1e-3}) == []
    assert changed_settings(saved, {"lr": 0.5, "seed": 3}) == ["--lr was 0.001, now 0.5", "--seed was 0, now 3"]


def test_schedule_rises_linearly_then_follows_half_a_cosine():
    factors = [cosine_with_warmup(step, warmup_steps=4, total_steps=12) for step in range(12)]
    assert factors[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert factors[4] == pytest.approx(1.0)
    assert factors[8] == pytest.approx(0.5)
    assert factors[11] == pytest.approx(0.5 * (1 - 0.92387953))
    assert cosine_with_warmup(0, warmup_steps=0, total_steps=1) == pytest.approx(1.0)
