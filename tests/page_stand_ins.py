"""Stand-ins for the names of a user's that the pages' blocks of Python read."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peer_oracle import peer
from torch import nn


def two_views() -> dict[str, Any]:
    return {"model": nn.Linear(6, 8), "view0": torch.randn(4, 6), "view1": torch.randn(4, 6)}


def lightly() -> dict[str, Any]:
    peer("torchvision")
    peer("lightly.models.modules")
    batch = ((torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32)), None, None)
    return {"dataloader": [batch, batch]}


def open_clip() -> dict[str, Any]:
    features = nn.functional.normalize(torch.randn(4, 8), dim=1).requires_grad_()
    output = {"image_features": features, "text_features": features, "logit_scale": torch.tensor(5.0)}
    args = SimpleNamespace(rank=0, world_size=1)
    return {"args": args, "model": lambda images, texts: output, "images": None, "texts": None}


def own_loop() -> dict[str, Any]:
    encoder = nn.Linear(6, 128)
    return {
        "device": torch.device("cpu"),
        "dataloader": [tuple(torch.randn(2, 3, 6)) for _ in range(2)],
        "encoder": encoder,
        "momentum_encoder": nn.Linear(6, 128),
        "optimizer": torch.optim.SGD(encoder.parameters(), lr=0.1),
    }


class Prototypes(nn.Module):
    """Logits of a crop and of each of its 16 patches."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 12)

    def forward(self, crop: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        patches = self.head(crop if mask is None else crop * ~mask[:, :, None])
        return patches.mean(1), patches


def teacher_and_student() -> dict[str, Any]:
    student = Prototypes()
    crops = torch.randn(4, 3, 16, 6)
    return {
        "torch": torch,
        "student": student,
        "prototypes": 12,
        "dataloader": [(crops[:2], crops[2:])] * 2,
        "optimizer": torch.optim.SGD(student.parameters(), lr=0.1),
        "steps": 2,
    }


def adversaries() -> dict[str, Any]:
    pairs = nn.Linear(6 + 4, 1)
    return {
        "x": torch.randn(5, 6),
        "z": torch.randn(5, 4),
        "view0": torch.rand(5, 6),
        "view1": torch.rand(5, 6),
        "encoder": nn.Linear(6, 4),
        "generator": nn.Linear(4, 6),
        "discriminator": lambda x, z: pairs(torch.cat([x, z], dim=1)).tanh(),
    }


def utterances() -> dict[str, Any]:
    return {
        "step": 3,
        "features": torch.randn(2, 30, 512),
        "context": torch.randn(2, 30, 8, requires_grad=True),
        "project_q": nn.Linear(256, 8),
        "mask": torch.rand(2, 30) < 0.5,
    }


def masked_items() -> dict[str, Any]:
    table = nn.Embedding(51, 8)
    return {
        "num_items": 50,
        "counts": torch.arange(50),
        "items": torch.randint(1, 50, (4, 12)),
        "step": 3,
        "item_embedding": table,
        "sequence_model": table,
    }


def token_masks() -> dict[str, Any]:
    ids = torch.randint(1000, 2000, (4, 16))
    batch = {"input_ids": ids, "special_tokens_mask": ids < 1100, "attention_mask": torch.ones_like(ids)}
    return {"batch": batch, "seed": 0, "model": lambda **inputs: SimpleNamespace(loss=torch.zeros(()))}


def masked_lm() -> dict[str, Any]:
    ids = torch.randint(0, 100, (4, 16))
    masked = torch.cat([torch.arange(0, 64, 7), torch.full((3,), -1)])
    labels = torch.full((64,), -100).index_copy(0, masked[:-3], ids.flatten()[masked[:-3]]).view(4, 16)
    head = SimpleNamespace(transform=nn.GELU(), decoder=nn.Linear(8, 100))
    table = nn.Embedding(100, 8)
    model = SimpleNamespace(
        cls=SimpleNamespace(predictions=head), bert=lambda ids: SimpleNamespace(last_hidden_state=table(ids))
    )
    return {"model": model, "ids": ids, "labels": labels, "masked": masked}


def patch_masks() -> dict[str, Any]:
    def patch_embed(images: torch.Tensor) -> torch.Tensor:
        return images.unflatten(2, (4, 8)).unflatten(4, (4, 8)).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)

    return {"patch_embed": patch_embed, "images": torch.randn(2, 3, 32, 32), "encoder": nn.Linear(192, 8)}


def augmentation() -> dict[str, Any]:
    return {"images": torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)}


def numpy_arrays() -> dict[str, Any]:
    return {"ids": torch.randint(1000, 2000, (4, 16)).numpy(), "seed": 0}


def electra() -> dict[str, Any]:
    discriminator = nn.Sequential(nn.Embedding(100, 8), nn.Linear(8, 1), nn.Flatten())
    generator = nn.Sequential(nn.Embedding(100, 8), nn.Linear(8, 100))
    return {
        "torch": torch,
        "ids": torch.randint(5, 100, (4, 16)),
        "generator": generator,
        "discriminator": discriminator,
    }


def masked_autoencoder() -> dict[str, Any]:
    tokens = {"patches": torch.randn(2, 16, 12), "mask_token": torch.zeros(8), "positions": torch.randn(16, 8)}
    return {"encoder": nn.Linear(12, 8), "decoder": nn.Linear(8, 12), **tokens}


def image_batch() -> dict[str, Any]:
    images = torch.randint(0, 256, (4, 3, 40, 48), dtype=torch.uint8)
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(8))
    return {
        "torch": torch,
        "seed": 7,
        "images": images,
        "dataset": [(image[:, :, k:], k) for k, image in enumerate(images)],
        "model": model,
        "classifier": nn.Sequential(nn.Flatten(), nn.LazyLinear(8)),
        "criterion": lambda a, b: (a - b).square().mean(),
        "masks": images[:, 0],
        "boxes": torch.rand(4, 2, 4) * 40,
        "keypoints": torch.rand(4, 5, 2) * 40,
    }


def pillow_data_set() -> dict[str, Any]:
    """What a dataset of torchvision's or lightly's is without its transform."""
    image = pytest.importorskip("PIL.Image")
    return image_batch() | {"dataset": [(image.new("RGB", (40 + k, 36), (50 * k, 0, 0)), k) for k in range(4)]}


def image_arrays() -> dict[str, Any]:
    return image_batch() | {"epoch": 1}


def batches() -> dict[str, Any]:
    views = {"view0": torch.randn(4, 3, 8, 8), "view1": torch.randn(4, 3, 8, 8)}
    labels = torch.tensor([1, 0, 3, 2])
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(192, 6))
    return {"images": torch.randn(4, 3, 8, 8), "labels": labels, "encoder": encoder, **views}


def images_in_memory() -> list[bytes]:
    image = pytest.importorskip("PIL.Image")
    files = []
    for value in range(4):
        file = io.BytesIO()
        image.new("RGB", (12, 9), (50 * value, 0, 0)).save(file, "JPEG")
        files.append(file.getvalue())
    return files


def image_files() -> dict[str, Any]:
    return {"paths": images_in_memory()}


def image_data_set() -> dict[str, Any]:
    return {"dataset": [(file, number) for number, file in enumerate(images_in_memory())]}


def video_file() -> dict[str, Any]:
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(6):
            container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode())
    return {"video": file.getvalue()}


def two_augmented_sentences() -> dict[str, Any]:
    batch = {"input_ids": torch.randint(5, 100, (4, 16)), "attention_mask": torch.ones(4, 16, dtype=torch.int64)}
    table = nn.Embedding(100, 8)
    return {
        "seed": 0,
        "dataloader": [batch, batch],
        "tokenizer": SimpleNamespace(pad_token_id=0, all_special_ids=[101, 102]),
        "encoder": lambda ids, mask: (table(ids) * mask[..., None]).sum(1),
    }


def item_histories() -> dict[str, Any]:
    table = nn.Embedding(102, 8)
    histories = [torch.randint(0, 101, (6, 20)) for _ in range(2)]
    return {"num_items": 100, "histories": histories, "sequence_encoder": lambda items: table(items).mean(1)}


def token_lists() -> dict[str, Any]:
    return {"seed": 0, "epoch": 1, "examples": [{"input_ids": list(range(1, 4 + i)), "idx": i} for i in range(5)]}


def translators() -> dict[str, Any]:
    return {"to_german": lambda texts: texts, "to_english": lambda texts: texts}


def waveforms() -> dict[str, Any]:
    model = nn.Linear(400, 2)
    loader = [(torch.randn(3, 400), torch.tensor([400, 300, 20])) for _ in range(2)]
    return {"loader": loader, "model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1)}


def videos() -> dict[str, Any]:
    return {"video": torch.rand(2, 80, 3, 4, 4), "num_frames": torch.tensor([80, 30])}


def clip_features() -> dict[str, Any]:
    names = ("image_features", "text_features")
    features = {name: nn.functional.normalize(torch.randn(8, 16), dim=1).requires_grad_() for name in names}
    return {"model_out": features | {"logit_scale": torch.tensor(10.0)}, "older_text_features": torch.randn(4, 16)}


def captions() -> dict[str, Any]:
    hard = {"image_numbers": torch.arange(8) // 2, "hard_captions": torch.randn(8, 3, 16)}
    return {"model_out": clip_features()["model_out"]} | hard
