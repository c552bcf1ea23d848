"""Images, a class each: IDX files, arrays, the built-in digits → a network's inputs, and settings that fit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from chainrule.data import BUILTINS, LabelledImages, TargetEncoder, fingerprint, load_builtin, read_idx, read_idx_folder
from chainrule.errors import DataError
from chainrule.tasks.config import NO_LIMIT, DataConfig, NetworkConfig, TrainingConfig
from chainrule.tasks.parts import TEST_FRACTION, Array, Part, Prepared, fraction, split

FEW = 10_000  # fewer training images are shifted
SHIFTS = ((0, 1), (0, -1), (1, 0), (-1, 0))  # rows down, columns right

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False, slots=True)
class Images:
    """Images [images, height, width] of numbers 0 to ``largest``; ``labels`` [images] where they are known."""

    pixels: Pixels
    labels: npt.NDArray[np.int64] | None
    source: str
    places: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, rows: npt.NDArray[np.int64]) -> Images:
        """Return these images, which keep their places."""
        labels = None if self.labels is None else self.labels[rows]
        return Images(self.pixels[rows], labels, self.source, self.places[rows])


@dataclass(frozen=True, slots=True)
class ImageInputs:
    """Turns images of one size into inputs: each pixel in parts of ``largest``, minus ``mean``, by ``deviation``."""

    height: int
    width: int
    largest: int
    mean: float
    deviation: float

    @classmethod
    def fit(cls, images: Images, largest: int) -> ImageInputs:
        """Take mean and standard deviation of all pixels of the training images."""
        parts = images.pixels.astype(np.float64) / largest
        if parts.min() == parts.max():
            what = f"{images.source}: every pixel of {len(images):,} images is {int(images.pixels.flat[0])}"
            raise DataError(what, expected="images that differ")
        height, width = images.pixels.shape[1:]
        return cls(height, width, largest, float(parts.mean()), float(parts.std()))

    @property
    def num_inputs(self) -> int:
        """How many numbers an image has."""
        return self.height * self.width

    def load(self, source: object) -> Images:
        """Read images from an IDX file or folder (its test files, if it has any), a built-in name or an array."""
        images = read_images(source)
        if images.pixels.shape[1:] != (self.height, self.width):
            got = " x ".join(map(str, images.pixels.shape[1:]))
            raise DataError(
                f"{images.source}: images of {got} pixels", expected=f"{self.height} x {self.width}, as in training"
            )
        return images

    def encode(self, data: Images) -> tuple[Array, list[str]]:
        """Return the inputs, float32 [images, pixels]; there is nothing to know of them."""
        parts = data.pixels.reshape(len(data), -1).astype(np.float32) / np.float32(self.largest)
        return (parts - np.float32(self.mean)) / np.float32(self.deviation), []

    def targets(self, data: Images, target: TargetEncoder, labels: str = "") -> Part:
        """Return the images as a part to be scored."""
        if data.labels is None:
            raise DataError(f"{data.source}: images without labels", expected="a folder with images and labels")
        y = _classes(data, target)
        return Part(
            X=self.encode(data)[0],
            y=y,
            actual=target.decode(y),
            source=data.source,
            place_name="row",
            places=data.places,
            cells=lambda row: {},
            image=lambda row: data.pixels[row].astype(np.float64) / self.largest,
        )

    def places(self, data: Images) -> tuple[str, Array]:
        """Return "row", and the number of each image in its file, counted from 0."""
        return "row", data.places

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values that JSON can hold."""
        size = {"height": self.height, "width": self.width, "largest": self.largest}
        return {**size, "mean": self.mean, "deviation": self.deviation}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> ImageInputs:
        """Make the same again from what ``to_dict`` returned."""
        return cls(saved["height"], saved["width"], saved["largest"], saved["mean"], saved["deviation"])


def _classes(data: Images, target: TargetEncoder) -> npt.NDArray[np.int64]:
    """Return the place of each label among the classes; a label that training did not have is an error."""
    assert data.labels is not None
    known = np.array([int(name) for name in target.classes])
    places = np.searchsorted(known, data.labels)
    wrong = known[np.minimum(places, len(known) - 1)] != data.labels
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{data.source}: image {int(data.places[row])} (counted from 0) has the label {int(data.labels[row])}, "
            f"which did not occur in training ({int(wrong.sum()):,} images have such labels)",
            expected=", ".join(target.classes),
        )
    return places.astype(np.int64)


def read_images(source: object) -> Images:
    """Read images to be looked at; labels come along where the source has them."""
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        if path in BUILTINS:
            return _labelled(load_builtin(path))
        if os.path.isdir(path):
            train, test = read_idx_folder(path)
            return _labelled(test or train)
        pixels = read_idx(path, num_dimensions=3)
        return Images(_pixels(pixels, os.path.basename(path)), None, os.path.basename(path), np.arange(len(pixels)))
    if isinstance(source, LabelledImages):
        return _labelled(source)
    array = np.asarray(source)
    if array.ndim == 2:
        array = array[None]
    return Images(_pixels(array, "array"), None, "array", np.arange(len(array)))


def _pixels(array: npt.NDArray[Any], name: str) -> Pixels:
    if array.ndim != 3 or array.size == 0:
        raise DataError(f"{name}: an array of shape {array.shape}", expected="[images, height, width]")
    whole = array.dtype.kind in "biu" or (array.dtype.kind == "f" and bool((array == np.floor(array)).all()))
    if not whole or array.min() < 0 or array.max() > 255:
        largest = f"{array.min()} to {array.max()}" if array.dtype.kind in "biuf" else str(array.dtype)
        raise DataError(f"{name}: pixels of {largest}", expected="whole numbers from 0 to 255")
    return array.astype(np.uint8)


def _labelled(images: LabelledImages) -> Images:
    return Images(images.images, images.labels, images.source, np.arange(len(images)))


def prepare_images(config: DataConfig, seed: int, source: object) -> Prepared:
    """Read the images that a configuration names, and cut them into parts; a folder's test files are the test part."""
    if isinstance(source, str) and source in BUILTINS:
        first, second = load_builtin(source), None
    elif isinstance(source, LabelledImages):
        first, second = source, None
    else:
        first, second = read_idx_folder(str(source))
    images = _labelled(first)
    test = _test_images(config, second)
    if test is not None and test.pixels.shape[1:] != images.pixels.shape[1:]:
        sizes = [" x ".join(map(str, one.pixels.shape[1:])) for one in (test, images)]
        raise DataError(f"{test.source}: images of {sizes[0]} pixels", expected=f"{sizes[1]}, as in {images.source}")
    labels = first.labels
    if len(np.unique(labels)) < 2:
        what = f"{images.source}: every image has the label {int(labels[0])}"
        raise DataError(what, expected="2 classes or more")
    part = 0.0 if test is not None else fraction(config.test)
    rest, held_out = split(labels, len(images), part, seed, "test", source=images.source)
    if isinstance(config.validation, str):
        raise DataError(
            f"val={config.validation!r}: images are validated on a part of the training images", expected="a fraction"
        )
    kept, stopped_by = split(labels[rest], len(rest), config.validation, seed, "validation", source=images.source)
    train, validation = images.take(rest[kept]), images.take(rest[stopped_by])
    if test is None:
        test = images.take(held_out)

    assert train.labels is not None
    classes, counts = np.unique(train.labels, return_counts=True)
    target = TargetEncoder(
        "label", "classification", classes=tuple(map(str, classes.tolist())), counts=tuple(counts.tolist())
    )
    augment = config.augment if config.augment != "auto" else "shifts" if len(train) < FEW else "none"
    size = " x ".join(map(str, images.pixels.shape[1:]))
    notes = [f"{images.source}: {len(images):,} images of {size} pixels, {len(classes)} classes"]
    if config.target not in ("", target.column):
        notes.append(f"target={config.target!r} is not used: what is learned of an image is its label")
    if augment == "shifts":
        many = len(train) * (1 + len(SHIFTS))
        notes.append(
            f"each training image is also moved by a pixel in {len(SHIFTS)} directions: {len(train):,} become {many:,}"
        )
    test_rows = config.source if second is not None else TEST_FRACTION
    config = replace(
        config,
        kind="images",
        target=target.column,
        task="classification",
        test=test_rows if config.test == "auto" else config.test,
        augment=augment,
    )
    inputs = ImageInputs.fit(train, first.largest)
    fingerprints = {"training": fingerprint({"images": first.images, "labels": first.labels})}
    if second is not None:
        fingerprints["test"] = fingerprint({"images": second.images, "labels": second.labels})
    return Prepared(
        config=config,
        inputs=inputs,
        target=target,
        train=inputs.targets(_shifted(train) if augment == "shifts" else train, target),
        validation=inputs.targets(validation, target) if len(validation) else None,
        test=inputs.targets(test, target) if len(test) else None,
        schema={"images": {**inputs.to_dict(), "labels": dict(zip(target.classes, counts.tolist(), strict=True))}},
        fingerprints=fingerprints,
        notes=notes,
    )


def _test_images(config: DataConfig, second: LabelledImages | None) -> Images | None:
    if isinstance(config.test, str) and config.test != "auto":
        train, test = read_idx_folder(config.test)
        return _labelled(test or train)
    return _labelled(second) if second is not None and config.test == "auto" else None


def _shifted(images: Images) -> Images:
    """Return images with copies moved by a pixel; what comes in at the edge is 0."""
    copies = [images.pixels]
    height, width = images.pixels.shape[1:]
    for down, right in SHIFTS:
        copy = np.zeros_like(images.pixels)
        copy[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = images.pixels[
            :, max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
        ]
        copies.append(copy)
    labels = None if images.labels is None else np.tile(images.labels, len(copies))
    return Images(np.concatenate(copies), labels, images.source, np.tile(images.places, len(copies)))


def image_defaults(num_rows: int) -> tuple[NetworkConfig, TrainingConfig]:
    """Return the settings for a number of training images (shifted copies count)."""
    few = num_rows < FEW
    network = NetworkConfig(hidden=(256, 128), activation="relu", dropout=0.3 if few else 0.2, input_dropout=0.1)
    training = TrainingConfig(
        loss="cross_entropy",
        optimizer="adamw",
        lr=2e-3 if few else 1e-3,
        weight_decay=1e-2,
        schedule="cosine",
        batch_size=64 if few else 128,
        epochs=40 if few else 30,
        patience=8,
        clip_norm=NO_LIMIT,
        class_weight="none",
        time_limit=NO_LIMIT,
        monitor="val_loss",
    )
    return network, training
