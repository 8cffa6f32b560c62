"""Every operation against outputs of torchvision's float functionals that lie beside the tests: no peer is needed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from image_augment_cases import in_floats, row
from peer_oracle import peer
from torchvision_outputs import CASES, FILE, MIXES, Case, image, outputs, two_images

from sslfast.augment import MIX_PARAMS, mix_images


@pytest.fixture(scope="module")
def stored() -> dict[str, np.ndarray]:
    with np.load(FILE) as file:
        return {name: file[name] for name in file.files}


def apart(got: torch.Tensor, want: np.ndarray, case: Case) -> float:
    """The share of values that are further apart than the case allows."""
    assert got.shape == want.shape
    return float(((got.double() - torch.from_numpy(want).double()).abs() > case.atol).double().mean())


@pytest.mark.parametrize("name", CASES)
def test_equals_what_torchvision_gave(stored: dict[str, np.ndarray], name: str) -> None:
    case, images = CASES[name], image()
    transform = in_floats(case.transform())
    got = transform.apply_params(images, row(transform, images, **case.columns))[0]
    assert apart(got, stored[name], case) <= case.odd


@pytest.mark.parametrize("name", CASES)
def test_over_arrays_too(stored: dict[str, np.ndarray], name: str) -> None:
    case, images = CASES[name], image()
    transform = in_floats(case.transform())
    params = row(transform, images, **case.columns).numpy()
    array = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
    got = transform.host().apply_params(array, params, out_layout="NCHW")[0]
    assert apart(torch.from_numpy(got), stored[name], case) <= case.odd


@pytest.mark.parametrize("name", MIXES)
def test_mixes_too(stored: dict[str, np.ndarray], name: str) -> None:
    columns = {"partner": 1.0, **MIXES[name][0]}
    params = torch.tensor([[columns.get(column, 0.0) for column in MIX_PARAMS], [0.0] * len(MIX_PARAMS)])
    mixed = mix_images(two_images(), params)
    torch.testing.assert_close(mixed[0], torch.from_numpy(stored[name]), atol=1e-6, rtol=0)
    assert torch.equal(mixed[1], two_images()[1])


def test_every_operation_does_something(stored: dict[str, np.ndarray]) -> None:
    """Or a test of it would prove nothing: only the identity gives the image back."""
    plain = image()[0].float().numpy() / np.float32(255)
    alike = [name for name in [*CASES, *MIXES] if np.array_equal(stored[name], plain)]
    assert alike == ["RandAugment identity"]
    assert FILE.stat().st_size < 120_000


def test_the_file_is_what_torchvision_gives(stored: dict[str, np.ndarray]) -> None:
    """Where torchvision is installed: the file belongs to these cases. Another version may round differently."""
    again = outputs(peer("torchvision.transforms.v2.functional"))
    assert [*again, "torchvision_version"] == sorted(stored, key=[*again, "torchvision_version"].index)
    for name, values in again.items():
        off = np.abs(values - stored[name]) > 1e-6
        assert off.mean() <= (CASES[name].odd if name in CASES else 0.0), name
