"""SpeechCollator: padding, transformers' own lengths of frames, masks by sample, workers, a model that takes it."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from oracle import all_equal
from peer_oracle import peer
from torch.utils.data import DataLoader

from sslfast.masking import SpeechCollator, sample_negatives, time_mask
from sslfast.random import step_seed

WAV2VEC = {"conv_kernel": (10, 3, 3, 3, 3, 2, 2), "conv_stride": (5, 2, 2, 2, 2, 2, 2)}
LENGTHS = (9000, 16000, 399, 12345)


def waves():
    return [{"input_values": torch.randn(n), "id": 100 + i} for i, n in enumerate(LENGTHS)]


def test_pads_and_masks():
    examples = waves()
    before = copy.deepcopy(examples)
    collator = SpeechCollator(**WAV2VEC, seed=3, sample_id_key="id", num_negatives=7, padding_value=-1.0)
    batch = collator(examples)
    assert all_equal([e["input_values"] for e in examples], [e["input_values"] for e in before])
    assert {k: (v.dtype, tuple(v.shape)) for k, v in batch.items()} == {
        "input_values": (torch.float32, (4, 16000)),
        "attention_mask": (torch.int64, (4, 16000)),
        "mask_time_indices": (torch.bool, (4, 49)),
        "sampled_negative_indices": (torch.int64, (4, 49, 7)),
    }
    for row, attended, wave in zip(batch["input_values"], batch["attention_mask"], before, strict=True):
        n = len(wave["input_values"])
        assert torch.equal(row[:n], wave["input_values"])
        assert (row[n:] == -1).all()
        assert attended.tolist() == [1] * n + [0] * (16000 - n)
    frames = torch.tensor([27, 49, 0, 38])
    draws = {"generator": int(step_seed(3, 0)), "sample_ids": torch.arange(100, 104)}
    mask = time_mask(4, 49, lengths=frames, min_masks=2, **draws)
    assert torch.equal(batch["mask_time_indices"], mask)
    negatives = sample_negatives(mask, 7, dtype=torch.int64, **draws)
    assert torch.equal(batch["sampled_negative_indices"], negatives)


def test_lengths_are_transformers():
    module = peer("transformers")
    config = module.Wav2Vec2Config(num_hidden_layers=0, hidden_size=16, num_attention_heads=1, intermediate_size=16)
    model = module.Wav2Vec2Model(config)
    collator = SpeechCollator(conv_kernel=config.conv_kernel, conv_stride=config.conv_stride)
    for samples in (400, 401, 719, 720, 16000, 48001):
        assert collator.frames(samples) == int(model._get_feat_extract_output_lengths(samples))
    assert collator.frames(399) == 0


def test_wav2vec_takes_the_batch():
    module = peer("transformers")
    config = module.Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8,) * 7,
        num_codevectors_per_group=4,
        codevector_dim=16,
        proj_codevector_dim=16,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        mask_time_length=10,
        do_stable_layer_norm=True,
        feat_extract_norm="layer",
    )
    model = module.Wav2Vec2ForPreTraining(config)
    collator = SpeechCollator(conv_kernel=config.conv_kernel, conv_stride=config.conv_stride, num_negatives=5, seed=1)
    batch = collator([e["input_values"] for e in waves() if len(e["input_values"]) > 400])
    loss = model(**batch).loss
    loss.backward()
    assert loss.isfinite()


@pytest.mark.parametrize("kind", ["tensors", "arrays", "lists", "mappings"])
def test_features_of_every_kind(kind):
    features = [torch.randn(n, 4, dtype=torch.float64) for n in (30, 21)]
    convert = {
        "tensors": lambda x: x,
        "arrays": lambda x: x.numpy(),
        "lists": lambda x: x.tolist(),
        "mappings": lambda x: {"input_features": x.numpy(), "other": "left out"},
    }[kind]
    collator = SpeechCollator(
        input_key="input_features", mask_length=3, num_negatives=None, pad_to_multiple_of=16, seed=1
    )
    batch = collator([convert(x) for x in features])
    assert sorted(batch) == ["attention_mask", "input_features", "mask_time_indices"]
    assert batch["input_features"].shape == (2, 32, 4)
    assert torch.equal(batch["input_features"][1, :21], features[1].float())
    assert batch["mask_time_indices"][1, :21].any()
    assert not batch["mask_time_indices"][1, 21:].any()


def test_samples_are_masked_alike_in_any_batch_and_anew_in_another_epoch():
    examples = waves()
    collator = SpeechCollator(**WAV2VEC, seed=3, sample_id_key="id")
    whole = collator(examples)["mask_time_indices"]
    alone = collator(examples[3:])["mask_time_indices"]
    assert torch.equal(alone[0, :38], whole[3, :38])
    collator.set_epoch(1)
    assert not torch.equal(collator(examples)["mask_time_indices"], whole)
    collator.set_epoch(0)
    assert torch.equal(collator(examples)["mask_time_indices"], whole)
    assert torch.equal(pickle.loads(pickle.dumps(collator))(examples)["mask_time_indices"], whole)


def test_short_rows_keep_a_frame():
    """Rows no longer than a span, alone or beside others, are no error and are not masked whole."""
    for rows in ([10, 40], [10, 10], [3], [11, 10, 1]):
        for options in ({}, {"mask_prob": 1.0}, {"mask_length": 1, "min_masks": 50}):
            collator = SpeechCollator(seed=0, **options)
            mask = collator([torch.randn(n) for n in rows])["mask_time_indices"]
            for row, n in zip(mask, rows, strict=True):
                assert not row[:n].all()
                assert row.sum() == (n - 1 if "mask_length" in options else row.sum())
                assert row.any() == (n > collator._spans["mask_length"])
    peers = SpeechCollator(seed=0, mode="compat")([torch.randn(10), torch.randn(40)])["mask_time_indices"]
    assert peers[0, :10].all()
    message = "SpeechCollator: mask_prob, mask_length and min_masks must leave a frame of 7 unmasked"
    with pytest.raises(ValueError, match=message):
        SpeechCollator(mask_prob=1.0, mask_length=1)([torch.randn(7)])


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers(context):
    examples = [{"input_values": np.ones(60, np.float32), "id": i} for i in range(8)]
    collator = SpeechCollator(mask_length=4, seed=3, sample_id_key="id", num_negatives=3)
    loader = DataLoader(examples, 2, collate_fn=collator, num_workers=2, multiprocessing_context=context)
    ours = torch.cat([batch["mask_time_indices"] for batch in loader])
    assert torch.equal(ours, collator(examples)["mask_time_indices"])


def test_without_a_seed_the_global_generator_draws():
    torch.manual_seed(1)
    collator = SpeechCollator(mask_length=4)
    rows = [torch.ones(80)] * 2
    first, second = collator(rows), collator(rows)
    assert not torch.equal(first["mask_time_indices"], second["mask_time_indices"])
    torch.manual_seed(1)
    assert all_equal(collator(rows).values(), first.values())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"conv_kernel": (3,)}, ValueError, "conv_kernel and conv_stride must be equally many, got 1 and 0"),
        ({"conv_kernel": (3,), "conv_stride": (0,)}, ValueError, "conv_stride must be at least 1, got 0"),
        ({"input_key": 1}, TypeError, "input_key must be a str, got int"),
        ({"mode": "fairseq"}, ValueError, "mode must be 'exact', 'compat' or 'hf', got 'fairseq'"),
        ({"mask_prob": 2.0}, ValueError, "mask_prob must be a probability in [0, 1], got 2.0"),
        ({"mask_length": 0}, ValueError, "mask_length must be at least 1, got 0"),
        ({"min_masks": -1}, ValueError, "min_masks must be at least 0, got -1"),
        ({"num_negatives": 0}, ValueError, "num_negatives must be at least 1, got 0"),
        ({"padding_value": "a"}, TypeError, "padding_value must be a number, got str"),
        ({"pad_to_multiple_of": 0}, ValueError, "pad_to_multiple_of must be at least 1, got 0"),
        ({"sample_id_key": "id"}, ValueError, "sample_id_key needs a seed, got None"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error) as raised:
        SpeechCollator(**arguments)
    assert str(raised.value) == f"SpeechCollator: {message}"


@pytest.mark.parametrize(
    ("examples", "error", "message"),
    [
        ([], ValueError, "examples must not be empty, got []"),
        ([{"x": 1}], KeyError, "an example has no 'input_values', which input_key names"),
        ([object()], TypeError, "an example must be a tensor, an array or a list, got object"),
        ([torch.tensor(1.0)], ValueError, "an example must have shape (samples, ...), got ()"),
        (
            [torch.ones(500, 2), torch.ones(500, 3)],
            ValueError,
            "examples must have shape (2,) after the first dimension, like the first, got (3,)",
        ),
        ([torch.ones(20)], ValueError, "examples must be long enough for a frame, got at most 20 samples"),
    ],
)
def test_bad_examples(examples, error, message):
    with pytest.raises(error) as raised:
        SpeechCollator(**WAV2VEC)(examples)
    assert raised.value.args == (f"SpeechCollator: {message}",)
