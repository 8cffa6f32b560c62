"""drop_in.transformers against the real collator: keys, dtypes, shapes, what stays as it is, and distributions."""

from __future__ import annotations

import copy
import inspect
import pickle
import warnings

import numpy as np
import pytest
import torch
from peer_oracle import peer
from scipy import stats
from token_examples import CLS, MASK, PAD, VOCAB, Tokenizer, examples, real_tokenizer
from torch.utils.data import DataLoader

from sslfast.masking.drop_in.transformers import DataCollatorForLanguageModeling, torch_mask_tokens

ALPHA = 1e-4  # of each test


@pytest.fixture(scope="module")
def tokenizer():
    return real_tokenizer()


def theirs():
    return peer("transformers").DataCollatorForLanguageModeling


def test_same_arguments_and_defaults():
    def arguments(function):
        return [(p.name, p.default) for p in inspect.signature(function).parameters.values()]

    assert arguments(DataCollatorForLanguageModeling) == arguments(theirs())
    for method in ("torch_mask_tokens", "numpy_mask_tokens", "__call__"):
        assert arguments(getattr(DataCollatorForLanguageModeling, method)) == arguments(getattr(theirs(), method))


def test_same_attributes(tokenizer):
    ours, peers = DataCollatorForLanguageModeling(tokenizer), theirs()(tokenizer)
    for name, value in vars(peers).items():
        if not name.startswith("_"):  # the peer's own affair
            assert getattr(ours, name) is value or getattr(ours, name) == value


COLUMNS = {
    "plain": {},
    "special": {"special": True},
    "types": {"special": True, "types": True},
    "equal lengths": {"ragged": False, "types": True},
}


@pytest.mark.parametrize("mlm", [True, False])
@pytest.mark.parametrize("kind", ["pt", "np"])
@pytest.mark.parametrize("multiple", [None, 8])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("columns", COLUMNS)
def test_equals_the_peer_where_nothing_is_drawn(columns, side, multiple, kind, mlm):
    """With probability 1 and [MASK] always, the result is determined: it is the peer's, key by key."""
    tokenizer = real_tokenizer(padding_side=side)
    batch = examples(7, **COLUMNS[columns])
    arguments = {"mlm": mlm, "pad_to_multiple_of": multiple, "return_tensors": kind}
    arguments |= {"mlm_probability": 1.0, "mask_replace_prob": 1.0, "random_replace_prob": 0.0}
    expected = theirs()(tokenizer, **arguments)(copy.deepcopy(batch))
    ours = DataCollatorForLanguageModeling(tokenizer, **arguments)(batch)
    assert set(ours) == set(expected)
    for key in expected:
        assert type(ours[key]) is type(expected[key]), key
        assert ours[key].dtype == expected[key].dtype, key
        assert np.array_equal(ours[key], expected[key]), key


@pytest.mark.parametrize("kind", [list, torch.tensor, np.array])
def test_equals_the_peer_on_rows_of_ids(tokenizer, kind):
    rows = [kind(example["input_ids"]) for example in examples(5)]
    arguments = {"mlm_probability": 1.0, "mask_replace_prob": 1.0, "random_replace_prob": 0.0}
    expected = theirs()(tokenizer, **arguments)(copy.deepcopy(rows))
    ours = DataCollatorForLanguageModeling(tokenizer, **arguments)(rows)
    assert set(ours) == set(expected) == {"input_ids", "labels"}
    assert all(torch.equal(ours[key], expected[key]) for key in expected)


@pytest.mark.parametrize("kind", ["pt", "np"])
def test_whole_words_equal_the_peers_where_nothing_is_drawn(tokenizer, kind):
    batch = examples(7, offsets=True, special=True, ragged=False)
    arguments = {"whole_word_mask": True, "mlm_probability": 1.0, "mask_replace_prob": 1.0, "random_replace_prob": 0.0}
    expected = theirs()(tokenizer, return_tensors=kind, **arguments)(copy.deepcopy(batch))
    ours = DataCollatorForLanguageModeling(tokenizer, return_tensors=kind, **arguments)(batch)
    assert set(ours) == set(expected)
    assert all(np.array_equal(ours[key], expected[key]) for key in expected)


def test_ragged_whole_words():
    """The peer raises here."""
    batch = examples(30, offsets=True, special=True)
    with pytest.warns(UserWarning, match="mask_replace_prob is 1 for whole words"):
        collator = DataCollatorForLanguageModeling(Tokenizer(), whole_word_mask=True, mlm_probability=0.5)
    assert (collator.mask_replace_prob, collator.random_replace_prob) == (1.0, 0.0)
    ours = collator(batch)
    masked = ours["labels"] != -100
    assert (ours["input_ids"][masked] == MASK).all()
    assert 0.3 < masked.sum() / ours["attention_mask"].sum() < 0.7


# ---- distributions, theirs beside ours


def outcomes(collator, batch, kind):
    """[MASK], the token itself, a random ordinary id, a random special id, not masked; and how many a row."""
    found = collator(copy.deepcopy(batch), return_tensors=kind)
    ids, labels = torch.as_tensor(found["input_ids"]), torch.as_tensor(found["labels"])
    masked = labels != -100
    out, original = ids[masked], labels[masked]
    counts = [
        int((out == MASK).sum()),
        int((out == original).sum()),
        int(((out >= 5) & (out != original)).sum()),
        int(((out < 5) & (out != MASK)).sum()),
        int((~masked).sum()),
    ]
    return np.array(counts), np.bincount(masked.sum(1).numpy(), minlength=40)


@pytest.mark.parametrize("kind", ["pt", "np"])
def test_distribution_of_outcomes(tokenizer, kind):
    batch = examples(3000, ragged=False)
    arguments = {"mlm_probability": 0.2, "mask_replace_prob": 0.6, "random_replace_prob": 0.3, "seed": 7}
    ours = outcomes(DataCollatorForLanguageModeling(tokenizer, **arguments), batch, kind)
    peers = outcomes(theirs()(tokenizer, return_tensors=kind, **arguments), batch, kind)
    for a, b in zip(ours, peers, strict=True):
        table = np.array([a, b])[:, (a + b) > 20]
        assert stats.chi2_contingency(table).pvalue > ALPHA
    assert ours[0][3] > 0  # random words may be special, as the peer's


@pytest.mark.parametrize("kind", ["pt", "np"])
def test_distribution_of_whole_words(tokenizer, kind):
    batch = examples(1500, offsets=True, special=True, ragged=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, peers = (
            outcomes(c(tokenizer, whole_word_mask=True, mlm_probability=0.3, return_tensors=kind, seed=3), batch, kind)
            for c in (DataCollatorForLanguageModeling, theirs())
        )
    for a, b in zip(ours, peers, strict=True):
        table = np.array([a, b])[:, (a + b) > 20]
        assert stats.chi2_contingency(table).pvalue > ALPHA


# ---- methods


def test_torch_mask_tokens_changes_its_input_as_the_peer_does(device):
    ids = torch.randint(5, VOCAB, (6, 20), device=device)
    for dtype in (torch.int64, torch.int32):
        before = ids.to(dtype)
        inputs = before.clone()
        out, labels = torch_mask_tokens(inputs, tokenizer=Tokenizer(), mlm_probability=0.5, generator=1)
        assert out is inputs
        assert torch.equal(labels[labels != -100], before[labels != -100])
        assert torch.equal(out[labels == -100], before[labels == -100])
        assert labels.dtype == dtype


def test_faces_are_equal_and_find_special_tokens():
    ids = torch.randint(VOCAB, (6, 20))
    collator = DataCollatorForLanguageModeling(Tokenizer(), mlm_probability=0.5, seed=3)
    again = DataCollatorForLanguageModeling(Tokenizer(), mlm_probability=0.5, seed=3)
    tensors, arrays = collator.torch_mask_tokens(ids.clone()), again.numpy_mask_tokens(ids.numpy().copy())
    assert all(np.array_equal(a, b) for a, b in zip(tensors, arrays, strict=True))
    assert (tensors[1][ids < 5] == -100).all()
    listed = DataCollatorForLanguageModeling(Tokenizer(), mlm_probability=0.5, seed=3)
    special = (ids < 5).long().tolist()
    assert torch.equal(listed.torch_mask_tokens(ids.clone(), special_tokens_mask=special)[1], tensors[1])


def test_an_override_is_heard():
    class Mine(DataCollatorForLanguageModeling):
        def torch_mask_tokens(self, inputs, special_tokens_mask=None, offset_mapping=None):
            return inputs + 1, inputs

    batch = examples(3)
    ours = Mine(Tokenizer())(batch)
    assert torch.equal(ours["input_ids"], ours["labels"] + 1)


def test_the_tokenizer_is_read_at_every_call():
    tokenizer = Tokenizer()
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=1.0)
    tokenizer.all_special_ids = [*tokenizer.all_special_ids, 7]
    assert collator([[7, 8]])["labels"].tolist() == [[-100, 8]]


def test_pickles_and_works_in_workers():
    collator = pickle.loads(pickle.dumps(DataCollatorForLanguageModeling(Tokenizer(), seed=5)))
    loader = DataLoader(examples(16), 4, collate_fn=collator, num_workers=2)
    labels = [batch["labels"] for batch in loader]
    assert len(labels) == 4
    assert all((rows[:, 0] == -100).all() for rows in labels)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: DataCollatorForLanguageModeling(None),
            TypeError,
            "DataCollatorForLanguageModeling: tokenizer must be a tokenizer, got None",
        ),
        (
            lambda: DataCollatorForLanguageModeling(Tokenizer(mask_token_id=None)),
            ValueError,
            "DataCollatorForLanguageModeling: mask_token_id must be known for mlm=True, got None",
        ),
        (
            lambda: DataCollatorForLanguageModeling(Tokenizer(), return_tensors="tf"),
            ValueError,
            "DataCollatorForLanguageModeling: return_tensors must be 'pt' or 'np', got 'tf'",
        ),
        (
            lambda: torch_mask_tokens(torch.zeros(2, 3).long(), tokenizer=Tokenizer(), whole_word_mask=True),
            ValueError,
            "torch_mask_tokens: offset_mapping must be given for whole_word_mask=True, got None",
        ),
        (
            lambda: torch_mask_tokens(torch.zeros(2, 3).long(), tokenizer=Tokenizer(mask_token_id=None)),
            ValueError,
            "torch_mask_tokens: tokenizer must have a mask token, got None",
        ),
        (
            lambda: torch_mask_tokens([1, 2], tokenizer=Tokenizer()),
            TypeError,
            "torch_mask_tokens: inputs must be a tensor, got list",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message


def test_padding_keeps_its_place():
    ours = DataCollatorForLanguageModeling(Tokenizer(), mlm_probability=1.0)([[CLS, 8], [9]])
    assert ours["input_ids"][1, 1] == PAD
    assert ours["labels"].tolist() == [[-100, 8], [9, -100]]
