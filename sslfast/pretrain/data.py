"""The data of a run, images or texts, and whether it is still the data that the run was started on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sslfast.pretrain.config import PretrainConfig, UserError
from sslfast.pretrain.image_data import ImageData, load_images
from sslfast.pretrain.text_data import TextData, load_texts


def load_data(config: PretrainConfig) -> ImageData | TextData:
    """Loads the images or texts a configuration names.

    Raises:
        UserError: The data set is not installed, there is nothing or too little, or a file cannot be decoded.
    """
    return load_texts(config) if config.unit == "texts" else load_images(config)


def load_run_data(run_dir: Path, run: dict[str, Any], command: str) -> ImageData | TextData:
    """Loads the data of a run that was started before, and makes sure that it is the same.

    The split of images into training and test images is drawn from the list of files: with a file more, images of the
    pretraining would be among the test images.

    Args:
        run_dir: The run folder, for the message.
        run: Its config.json.
        command: Who asks, for the message.

    Raises:
        UserError: As ``load_data``; or the data, its split or its labels are not those of the run.
    """
    data = load_data(PretrainConfig(**run["settings"]))
    check_fingerprint(data, run_dir, run, command)
    return data


def check_fingerprint(data: ImageData | TextData, run_dir: Path, run: dict[str, Any], command: str) -> None:
    """Raises a UserError where ``data`` is not what the run was started on."""
    if run["data"]["fingerprint"] != data.fingerprint():
        unit = PretrainConfig(**run["settings"]).unit
        raise UserError(
            f"{command}: the {unit} of {data.name} have changed since {run_dir} was started (or their labels, or the"
            f" split into training and test {unit})"
        )
