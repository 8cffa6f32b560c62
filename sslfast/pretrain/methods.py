"""From the settings of a run to its method and batches: the network with its heads, new or from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sslfast.pretrain.batches import image_loaders
from sslfast.pretrain.checkpoints import read_checkpoint
from sslfast.pretrain.config import PretrainConfig, UserError, keyed_seed
from sslfast.pretrain.encoders import ImageEncoder, encoder_settings
from sslfast.pretrain.files import BEST, LAST, TOKENIZER, read_run
from sslfast.pretrain.image_data import ImageData
from sslfast.pretrain.mae import MAE
from sslfast.pretrain.masked_pixels import MaskedPixels
from sslfast.pretrain.pretraining import Pretraining
from sslfast.pretrain.simclr import SimCLR
from sslfast.pretrain.text_data import TextData

if TYPE_CHECKING:
    from sslfast.pretrain.mlm import MLM
    from sslfast.pretrain.vocabulary import Vocabulary

_IMAGE_METHODS: dict[str, type[Pretraining]] = {"simclr": SimCLR, "masked-pixels": MaskedPixels, "mae": MAE}


def build(config: PretrainConfig, data: ImageData, steps_per_epoch: int) -> Pretraining:
    """A method of images with weights drawn from the seed of the run."""
    torch.manual_seed(keyed_seed(config.seed, "weights"))
    encoder = ImageEncoder(encoder_settings(config, data.train.shape[1]), *data.mean_std())
    return _IMAGE_METHODS[config.method](config, encoder, steps_per_epoch)


def build_mlm(config: PretrainConfig, vocabulary: Vocabulary, steps_per_epoch: int) -> MLM:
    """The method of texts with weights drawn from the seed of the run."""
    from sslfast.pretrain.bert import text_encoder
    from sslfast.pretrain.mlm import MLM

    torch.manual_seed(keyed_seed(config.seed, "weights"))
    return MLM(config, text_encoder(config, vocabulary), steps_per_epoch)


def prepare(
    config: PretrainConfig, data: ImageData | TextData, run_dir: Path, *, resumed: bool
) -> tuple[Pretraining, Any, Any]:
    """The method with new weights, its training and its validation batches.

    A new run of texts trains its vocabulary on the training texts and writes it to the run folder.

    Raises:
        UserError: Too little data for a batch or for the validation, or a resumed run has lost its vocabulary.
    """
    if isinstance(data, ImageData):
        train, validation = image_loaders(config, data)
        return build(config, data, len(train)), train, validation
    from sslfast.pretrain.text_batches import text_loaders
    from sslfast.pretrain.vocabulary import Vocabulary

    if resumed:
        vocabulary = Vocabulary.read(run_dir / TOKENIZER)
    else:
        vocabulary = Vocabulary.trained(data.train, config.vocab_size, config.max_length)
    train, validation, counts = text_loaders(config, data, vocabulary)
    module = build_mlm(config, vocabulary, len(train))
    module.count_tokens(counts)
    if not resumed:
        vocabulary.write(run_dir / TOKENIZER)
    return module, train, validation


def load_method(run_dir: Path, data: ImageData | TextData) -> Any:
    """The method of a run with the weights of its best checkpoint (the last one where nothing was validated).

    Raises:
        UserError: No epoch of the run is complete.
    """
    path = run_dir / BEST if (run_dir / BEST).is_file() else run_dir / LAST
    if not path.is_file():
        raise UserError(f"{run_dir} holds no complete epoch yet")
    config = PretrainConfig(**read_run(run_dir)["settings"])
    module: Pretraining
    if isinstance(data, ImageData):
        module = build(config, data, steps_per_epoch=1)
    else:
        from sslfast.pretrain.vocabulary import Vocabulary

        module = build_mlm(config, Vocabulary.read(run_dir / TOKENIZER), steps_per_epoch=1)
    module.load_state_dict(read_checkpoint(path)["state_dict"])
    return module.eval()
