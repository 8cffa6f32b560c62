"""The masked language model: vocabulary, batches and masks, the loss against transformers' own, features, judging."""

import math
from dataclasses import replace

import pytest
import torch

pytest.importorskip("lightning")
pytest.importorskip("transformers")

from sslfast.pretrain.bert import TextEncoder, masked_lm, text_encoder
from sslfast.pretrain.config import UserError
from sslfast.pretrain.encoder_file import load_encoder, save_encoder
from sslfast.pretrain.language_model import judge_language_model, sentence
from sslfast.pretrain.mlm import MLM
from sslfast.pretrain.settings import resolve
from sslfast.pretrain.text_batches import LengthBatches, text_loaders
from sslfast.pretrain.text_data import TextData, load_glosses
from sslfast.pretrain.text_report import language_model_table
from sslfast.pretrain.verdict import NOTHING_MASKED, language_model_sentence
from sslfast.pretrain.vocabulary import BEGIN, END, MASK, PAD, SPECIAL_TOKENS, Vocabulary


@pytest.fixture(scope="module")
def data():
    glosses = load_glosses()
    return TextData("glosses", glosses.train[:400], glosses.test[:60], None, None, ())


@pytest.fixture(scope="module")
def vocabulary(data):
    return Vocabulary.trained(data.train, 300, 24)


def config(**settings):
    given = {"width": 16, "depth": 1, "max_length": 24, "batch_size": 32, **settings}
    return resolve({"method": "mlm", "data": "glosses", **given})


def method(vocabulary, **settings):
    torch.manual_seed(0)
    used = config(**settings)
    return MLM(used, text_encoder(used, vocabulary), steps_per_epoch=1)


def first_batch(data, vocabulary, **settings):
    return next(iter(text_loaders(config(**settings), data, vocabulary)[0]))


def test_vocabulary_is_the_same_each_time_and_goes_through_a_file(data, vocabulary, tmp_path):
    again = Vocabulary.trained(data.train, 300, 24)
    assert again.to_str() == vocabulary.to_str()
    assert len(vocabulary) == 300
    vocabulary.write(tmp_path / "tokenizer.json")
    read = Vocabulary.read(tmp_path / "tokenizer.json")
    assert read.to_str() == vocabulary.to_str()
    assert read.words(range(5)) == list(SPECIAL_TOKENS)
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    for text in data.test[:5]:
        assert vocabulary.encode([text]).ids.tolist() == theirs(text, truncation=True, max_length=24)["input_ids"]


def test_a_vocabulary_that_is_lost_or_damaged_is_named(tmp_path):
    with pytest.raises(UserError, match=r"holds no vocabulary \(no tokenizer\.json\)"):
        Vocabulary.read(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"tokenizer\.json is damaged"):
        Vocabulary.read(tmp_path / "tokenizer.json")


def test_texts_become_rows_of_ids_with_their_words(vocabulary):
    rows = vocabulary.encode(["The Act of playing", "", "a " * 100])
    assert rows.lengths[1:].tolist() == [2, 24]
    first = rows.example(0)
    assert (first["input_ids"][0], first["input_ids"][-1], first["id"]) == (BEGIN, END, 0)
    joined = "".join(
        piece.removeprefix("##") if piece.startswith("##") else f" {piece}"
        for piece in vocabulary.words(first["input_ids"][1:-1].tolist())
    )
    assert joined == " the act of playing"
    words = first["word_ids"].tolist()
    assert (words[0], words[-1], sorted(set(words[1:-1]))) == (-1, -1, [0, 1, 2, 3])
    assert rows.counts(len(vocabulary)).tolist()[BEGIN] == 3
    assert len(vocabulary.encode([])) == 0


def test_batches_hold_texts_of_similar_length_in_an_order_keyed_by_seed_and_epoch():
    lengths = torch.randint(5, 50, (1000,), generator=torch.Generator().manual_seed(0))
    batches = LengthBatches(lengths, 16, 3, None)
    batches.set_epoch(2)
    order = list(batches)
    assert len(order) == len(batches) == 62
    assert len(torch.cat(order).unique()) == 62 * 16
    waste = [1 - float(lengths[batch].float().mean() / lengths[batch].max()) for batch in order]
    assert sum(waste) / len(waste) < 0.1
    means = torch.stack([lengths[batch].float().mean() for batch in order])
    assert abs(torch.corrcoef(torch.stack([means, torch.arange(62.0)]))[0, 1]) < 0.4, "the batches are not in order"
    torch.rand(7)  # torch's own generator has no say
    again = LengthBatches(lengths, 16, 3, None)
    again.set_epoch(2)
    assert all(torch.equal(one, two) for one, two in zip(order, again, strict=True))
    again.set_epoch(3)
    assert not torch.equal(torch.cat(list(again)), torch.cat(order))


def test_masks_change_with_the_epoch_in_training_and_stay_in_validation(data, vocabulary):
    train, validation, counts = text_loaders(config(), data, vocabulary)
    assert counts.sum() == vocabulary.encode(data.train).lengths.sum()
    assert not set(train.dataset.indices.tolist()) & set(validation.dataset.indices.tolist())

    def masked(loader, epoch):
        loader.sampler.set_epoch(epoch)
        found = {}
        for places, batch in zip(loader.sampler, loader, strict=True):
            for place, labels in zip(places.tolist(), batch["labels"], strict=True):
                found[place] = [(spot, int(label)) for spot, label in enumerate(labels) if label >= 0]
        return found

    first, second = masked(train, 0), masked(train, 1)
    both = first.keys() & second.keys()
    assert len(both) > 300
    assert sum(first[text] == second[text] for text in both) < 0.2 * len(both)
    assert masked(train, 0) == first
    assert masked(validation, 0) == masked(validation, 1)


@pytest.mark.parametrize("whole_words", [False, True])
def test_share_of_masked_tokens_and_whole_words(data, vocabulary, whole_words):
    shares = []
    for batch in text_loaders(config(mask_ratio=0.3, whole_words=whole_words), data, vocabulary)[0]:
        ordinary = ~torch.isin(batch["input_ids"], torch.tensor([PAD, BEGIN, END]))
        shares.append((len(batch["masked_indices"]) / int(ordinary.sum()), batch))
        assert torch.equal(batch["masked_indices"], (batch["labels"].flatten() >= 0).nonzero().flatten())
        hidden = batch["input_ids"].flatten()[batch["masked_indices"]]
        assert 0.6 < float((hidden == MASK).float().mean()) < 0.95
    assert sum(share for share, _ in shares) / len(shares) == pytest.approx(0.3, abs=0.03)
    if whole_words:
        rows, pieces = vocabulary.encode(data.train), 0
        loader = text_loaders(config(mask_ratio=0.3, whole_words=True), data, vocabulary)[0]
        for places, batch in zip(loader.sampler, loader, strict=True):
            for index, labels in zip(loader.dataset.indices[places].tolist(), batch["labels"], strict=True):
                words = torch.from_numpy(rows.example(index)["word_ids"])
                hidden = labels[: len(words)] >= 0
                for word in words[hidden].unique().tolist():
                    assert hidden[words == word].all()
                    pieces += int((words == word).sum() > 1)
        assert pieces > 50


def test_loss_and_gradients_are_those_of_transformers(data, vocabulary):
    module = method(vocabulary).double()
    batch = first_batch(data, vocabulary)
    loss = module.loss(batch, seed=0)
    loss.backward()
    ours = {name: parameter.grad.clone() for name, parameter in module.named_parameters()}
    module.zero_grad()
    peer = masked_lm(module.encoder).double()
    peer.cls.predictions = module.head
    theirs = peer(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"]).loss
    theirs.backward()
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-9)
    for name, parameter in module.named_parameters():
        assert ours[name].isfinite().all(), name
        assert torch.allclose(ours[name], parameter.grad, atol=1e-10), name
    decoder, embedding = module.head.decoder.weight, module.encoder.backbone.embeddings.word_embeddings.weight
    assert decoder is embedding, "the decoder is tied to the word embedding"


def test_loss_needs_no_logits_of_other_tokens(data, vocabulary):
    module, batch = method(vocabulary).eval(), first_batch(data, vocabulary)
    outcome = module.outcome(batch)
    scores = module.logits(batch).flatten(0, 1)[batch["masked_indices"]]
    labels = batch["labels"].flatten()[batch["masked_indices"]]
    assert outcome.accuracy.item() == pytest.approx((scores.argmax(1) == labels).float().mean().item())
    assert outcome.perplexity.item() == pytest.approx(math.exp(outcome.loss.item()), rel=1e-5)
    empty = {**batch, "labels": batch["labels"].fill_(-100), "masked_indices": batch["masked_indices"][:0]}
    assert module.loss(empty, 0).item() == 0


def test_unigram_baseline_and_where_the_bias_starts(vocabulary):
    module = method(vocabulary)
    counts = torch.zeros(len(vocabulary), dtype=torch.int64)
    counts[:5], counts[10], counts[11] = 1000, 699, 4
    module.count_tokens(counts)
    assert module.unigram.exp().sum().item() == pytest.approx(1, abs=1e-5)
    total = 703 + len(vocabulary) - 5
    assert module.unigram[10].exp().item() == pytest.approx(700 / total, rel=1e-5)
    assert module.unigram[20].exp().item() == pytest.approx(1 / total, rel=1e-5)
    assert module.unigram[:5].exp().max().item() < 1e-9
    assert torch.equal(module.head.bias[5:], module.unigram[5:])
    assert module.head.bias.min() == module.unigram[5:].min()
    assert module.state_dict()["unigram"] is not None


def test_judging_counts_every_masked_token_once_and_the_baseline_by_hand(data, vocabulary):
    module = method(vocabulary).double()
    rows = vocabulary.encode(data.train)
    module.count_tokens(rows.counts(len(vocabulary)))
    judged = judge_language_model(module, data.test)
    assert judged == judge_language_model(module, data.test)
    other = method(vocabulary, seed=7).double()
    other.count_tokens(rows.counts(len(vocabulary)))
    for key in ("masked_tokens", "unigram_perplexity", "unigram_accuracy"):
        assert judge_language_model(other, data.test)[key] == judged[key], "the masks are those of every run"
    # At the start the network's states say little: its bias alone is the unigram distribution.
    module.head.decoder.weight.data.zero_()
    level = judge_language_model(module, data.test)
    assert level["perplexity"] == pytest.approx(level["unigram_perplexity"], rel=1e-3)
    assert level["accuracy"] == pytest.approx(level["unigram_accuracy"])
    assert "masked tokens of test texts" in sentence([judged, judged])
    assert "(mean of 2 runs)" in sentence([judged, judged])


def test_texts_without_a_token_to_mask_are_said_to_have_none(vocabulary):
    judged = judge_language_model(method(vocabulary), ["\u4e00", "\u4e01 \u4e02", ""])
    assert judged["masked_tokens"] == 0
    for text in (sentence([judged]), language_model_table([judged]), language_model_sentence([judged])[1]):
        assert NOTHING_MASKED in text
        assert "perplexity" not in text


def test_verdict_on_perplexity():
    judged = {
        "perplexity": 90.0,
        "accuracy": 0.3,
        "unigram_perplexity": 600.0,
        "unigram_accuracy": 0.05,
        "masked_tokens": 9,
    }
    outcome, text = language_model_sentence([judged, {**judged, "perplexity": 80.0}])
    assert outcome == "better"
    assert text.startswith("The perplexity of masked tokens (90.0 in the worst of 2 runs) is below that of the unigram")
    assert language_model_sentence([{**judged, "perplexity": 700.0}])[0] == "worse"


def test_features_depend_on_the_text_alone(data, vocabulary, tmp_path):
    encoder = method(vocabulary).encoder.eval()
    texts = list(data.test[:9])
    together = encoder.embed(texts)
    assert together.shape == (9, encoder.dim) == (9, 32)
    apart = torch.cat([encoder([text]) for text in texts]).detach()
    assert torch.allclose(together, apart, atol=1e-5), "padding has no say"
    assert torch.allclose(encoder.embed(texts, batch_size=2), together, atol=1e-5)
    assert encoder.embed(["", "act"])[0].abs().max() == 0
    save_encoder(encoder, tmp_path / "encoder.pt")
    loaded = load_encoder(tmp_path)
    assert isinstance(loaded, TextEncoder)
    assert torch.equal(loaded.embed(texts), together)
    assert not torch.allclose(loaded.untrained().embed(texts), together, atol=1e-2)
    for call in (encoder, encoder.embed):
        with pytest.raises(TypeError, match=r"^TextEncoder: texts must be a list of them, got one str$"):
            call("a small animal")
        with pytest.raises(TypeError, match=r"^TextEncoder: texts must be str, all of them, got int$"):
            call(["a small animal", 3])
    with pytest.raises(ValueError, match=r"^TextEncoder: texts must be at least 1, got 0$"):
        encoder([])
    assert encoder.embed([]).shape == (0, 32)


def test_dropout_draws_are_keyed_by_the_step(data, vocabulary):
    module, batch = method(vocabulary, dropout=0.3).train(), first_batch(data, vocabulary)
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)  # as training_step does
        losses.append(module.loss(batch, seed).item())
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(("width", "heads"), [(1, 1), (16, 1), (17, 1), (48, 3), (64, 4), (75, 3)])
def test_heads_divide_every_width(vocabulary, width, heads):
    used = replace(config(), width=width)
    assert text_encoder(used, vocabulary).bert_config().num_attention_heads == heads
