"""MLMCollator and WholeWordCollator: the text of every error."""

from __future__ import annotations

import pytest
from token_examples import CLS, MASK, VOCAB, Tokenizer, examples

from sslfast.masking import MLMCollator, WholeWordCollator


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"tokenizer": None}, ValueError, "tokenizer or vocab_size must be given, got neither"),
        (
            {"tokenizer": object()},
            TypeError,
            "tokenizer must have mask_token_id, pad_token_id, all_special_ids and len(), got object",
        ),
        ({"vocab_size": 3}, ValueError, "vocab_size must be None beside a tokenizer, got 3"),
        ({"tokenizer": None, "vocab_size": 9}, ValueError, "mask_token_id must be known for mlm=True, got None"),
        (
            {"tokenizer": None, "vocab_size": 9, "mask_token_id": 9},
            ValueError,
            "mask_token_id must be in [0, 8], got 9",
        ),
        (
            {"tokenizer": None, "vocab_size": 9, "mask_token_id": 1, "special_ids": [2, 1.5]},
            TypeError,
            "special_ids[1] must be an int, got float",
        ),
        (
            {"tokenizer": None, "vocab_size": 9, "mask_token_id": 1, "special_ids": 3},
            TypeError,
            "special_ids must be a list of ints, got int",
        ),
        (
            {"tokenizer": None, "vocab_size": 2, "mask_token_id": 1, "special_ids": [0]},
            ValueError,
            "special_ids must leave an ordinary id, got all 2",
        ),
        (
            {"tokenizer": Tokenizer(mask_token_id=None)},
            ValueError,
            "mask_token_id must be known for mlm=True, got None",
        ),
        ({"mlm": False, "whole_word_mask": True}, ValueError, "mlm must be True for whole_word_mask=True, got False"),
        ({"mlm_probability": 2}, ValueError, "mlm_probability must be a probability in [0, 1], got 2"),
        ({"mlm_probability": None}, TypeError, "mlm_probability must be a number, got NoneType"),
        (
            {"random_replace_prob": 0.3},
            ValueError,
            "mask_replace_prob + random_replace_prob must be at most 1, got 0.8 + 0.3",
        ),
        ({"mode": "fast"}, ValueError, "mode must be 'exact' or 'compat', got 'fast'"),
        ({"return_tensors": "tf"}, ValueError, "return_tensors must be 'pt' or 'np', got 'tf'"),
        ({"pad_to_multiple_of": 0}, ValueError, "pad_to_multiple_of must be in [1, 4294967295], got 0"),
        ({"seed": "x"}, TypeError, "seed must be an int, got str"),
        ({"sample_id_key": "id"}, ValueError, "sample_id_key needs a seed, got None"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error) as raised:
        MLMCollator(**({"tokenizer": Tokenizer()} | arguments))
    assert str(raised.value) == f"MLMCollator: {message}"


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        ([], ValueError, "examples must not be empty, got []"),
        ([{"ids": [1]}], KeyError, "an example must have 'input_ids', got 'ids'"),
        ([{"input_ids": [1], "x": 1}, {"input_ids": [1]}], KeyError, "an example has no 'x', which the first has"),
        ([[1], [2.5]], TypeError, "input_ids of examples[1][0] must be an int, got float"),
        ([[1], [True, 2]], TypeError, "input_ids of examples[1][0] must be an int, got bool"),
        ([[1], 3], TypeError, "input_ids of examples[1] must be a list, tuple or array of ints, got int"),
        ([[[1, 2]]], ValueError, "input_ids of an example must be ints, got rows of them"),
        (
            [{"input_ids": [1, 2], "attention_mask": [1]}],
            ValueError,
            "attention_mask of examples[0] must have 2 elements, like input_ids, got 1",
        ),
        (
            [{"input_ids": [1, 2], "special_tokens_mask": 1}],
            ValueError,
            "special_tokens_mask of examples[0] must have 2 elements, like input_ids, got int",
        ),
        (
            [{"input_ids": [1, 2], "text": "ab c"}],
            TypeError,
            "text of an example must be an int for each token, or numbers of one shape, got str",
        ),
        (
            [{"input_ids": [1, 2], "x": [1, 2, 3]}, {"input_ids": [1], "x": [1]}],
            TypeError,
            "x of an example must be an int for each token, or numbers of one shape, got list",
        ),
    ],
)
def test_bad_examples(batch, error, message):
    with pytest.raises(error) as raised:
        MLMCollator(Tokenizer())(batch)
    assert raised.value.args[0] == f"MLMCollator: {message}"


def test_bad_whole_words():
    with pytest.raises(ValueError, match=r"^WholeWordCollator: replace must be 'token' or 'word', got 'all'$"):
        WholeWordCollator(Tokenizer(), replace="all")
    with pytest.raises(ValueError, match=r"^WholeWordCollator: for whole words the examples must have 'word_ids' or "):
        WholeWordCollator(Tokenizer())(examples(2))
    with pytest.raises(TypeError, match=r"^WholeWordCollator: word_ids of examples\[0\]\[1\] must be an int, got str$"):
        WholeWordCollator(Tokenizer())([{"input_ids": [CLS, 7], "word_ids": [None, "x"]}])
    unknown = MLMCollator(mask_token_id=MASK, vocab_size=VOCAB)
    with pytest.raises(ValueError, match=r"^MLMCollator: pad_token_id must be known where rows are padded, got None"):
        unknown([[1, 2], [3]])
