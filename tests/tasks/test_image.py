from __future__ import annotations

import numpy as np
import pytest

from chainrule.errors import DataError
from chainrule.tasks.config import DataConfig
from chainrule.tasks.image import ImageInputs, prepare_images, read_images
from chainrule.tasks.parts import Prepared
from tests.tasks.small_data import pictures, write_folder, write_idx


def prepare(folder: object, **settings: object) -> Prepared:
    return prepare_images(DataConfig(str(folder), **settings), 0, str(folder))


def test_a_folders_test_files_are_the_test_part(tmp_path) -> None:
    prepared = prepare(write_folder(tmp_path / "small"), augment="none")
    assert prepared.test is not None
    assert prepared.validation is not None
    assert (len(prepared.train), len(prepared.validation), len(prepared.test)) == (48, 12, 30)
    assert prepared.test.source == "t10k-images-idx3-ubyte.gz"
    assert prepared.config.test == str(tmp_path / "small")
    assert prepared.target.classes == ("0", "1", "2")


def test_without_test_files_a_part_of_the_images_is_held_out(tmp_path) -> None:
    prepared = prepare(write_folder(tmp_path / "small", test=False), augment="none")
    assert prepared.test is not None
    assert len(prepared.test) == 12
    assert prepared.config.test == 0.2


def test_pixels_are_standardised_by_the_training_images(tmp_path) -> None:
    prepared = prepare(write_folder(tmp_path / "small"), augment="none")
    assert prepared.train.X.dtype == np.float32
    assert abs(float(prepared.train.X.mean())) < 1e-5
    assert abs(float(prepared.train.X.std()) - 1) < 1e-5


def test_few_training_images_are_also_moved_by_a_pixel_and_no_others_are(tmp_path) -> None:
    folder = write_folder(tmp_path / "small")
    plain, moved = prepare(folder, augment="none"), prepare(folder)
    assert moved.config.augment == "shifts"
    assert len(moved.train) == 5 * len(plain.train)
    assert moved.validation is not None
    assert plain.validation is not None
    assert len(moved.validation) == len(plain.validation)
    first, right, left, down, up = moved.train.X.reshape(5, -1, 6, 6)
    np.testing.assert_array_equal(first.reshape(-1, 36), plain.train.X)
    np.testing.assert_array_equal(right[:, :, 1:], first[:, :, :-1])
    np.testing.assert_array_equal(left[:, :, :-1], first[:, :, 1:])
    np.testing.assert_array_equal(down[:, 1:], first[:, :-1])
    np.testing.assert_array_equal(up[:, :-1], first[:, 1:])
    assert len(np.unique(right[:, :, 0])) == 1  # nothing comes in at the edge
    np.testing.assert_array_equal(moved.train.y, np.tile(plain.train.y, 5))


def test_labels_need_not_count_from_0(tmp_path) -> None:
    images, labels = pictures()
    (tmp_path / "odd").mkdir()
    write_idx(tmp_path / "odd" / "train-images-idx3-ubyte", images)
    write_idx(tmp_path / "odd" / "train-labels-idx1-ubyte", labels * 10 + 7)
    prepared = prepare(tmp_path / "odd")
    assert prepared.target.classes == ("7", "17", "27")
    assert set(prepared.train.y.tolist()) == {0, 1, 2}
    assert set(prepared.train.actual.tolist()) == {7, 17, 27}


def test_a_label_that_training_did_not_have_is_an_error_that_names_the_image(tmp_path) -> None:
    folder = write_folder(tmp_path / "small")
    _, labels = pictures(30, 1)
    labels[4] = 9
    write_idx(folder / "t10k-labels-idx1-ubyte.gz", labels)
    with pytest.raises(DataError, match=r"t10k-images.*image 4 .* has the label 9.*expected 0, 1, 2"):
        prepare(folder)


def test_images_of_another_size_are_an_error_with_both_sizes(tmp_path) -> None:
    folder = write_folder(tmp_path / "small")
    write_idx(folder / "t10k-images-idx3-ubyte.gz", np.zeros((30, 5, 7), np.uint8))
    with pytest.raises(DataError, match="images of 5 x 7 pixels; expected 6 x 6"):
        prepare(folder)


def test_images_of_one_class_or_of_one_colour_cannot_be_learned_from(tmp_path) -> None:
    folder = write_folder(tmp_path / "small", test=False)
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.full(60, 3, np.uint8))
    with pytest.raises(DataError, match="every image has the label 3; expected 2 classes"):
        prepare(folder)
    folder = write_folder(tmp_path / "grey", test=False)
    write_idx(folder / "train-images-idx3-ubyte.gz", np.full((60, 6, 6), 5, np.uint8))
    with pytest.raises(DataError, match=r"every pixel of .* images is 5"):
        prepare(folder)


def test_a_target_that_is_named_is_said_not_to_be_used(tmp_path) -> None:
    folder = write_folder(tmp_path / "small")
    said = "target='price' is not used: what is learned of an image is its label"
    assert said in prepare(folder, target="price").notes
    for target in ("", "label"):  # what a run keeps is the name of its target
        assert not any("not used" in note for note in prepare(folder, target=target).notes)


def test_images_are_validated_on_a_fraction(tmp_path) -> None:
    with pytest.raises(DataError, match=r"val='other'.*expected a fraction"):
        prepare(write_folder(tmp_path / "small"), validation="other")


def test_images_to_predict_come_as_a_file_a_folder_or_an_array(tmp_path) -> None:
    folder = write_folder(tmp_path / "small")
    images, _ = pictures(30, 1)
    assert read_images(str(folder)).labels is not None
    file = read_images(folder / "t10k-images-idx3-ubyte.gz")
    assert file.labels is None
    np.testing.assert_array_equal(file.pixels, images)
    np.testing.assert_array_equal(read_images(images).pixels, images)
    assert read_images(images[0]).pixels.shape == (1, 6, 6)
    np.testing.assert_array_equal(read_images(images.astype(float)).pixels, images)


@pytest.mark.parametrize(
    "array", [np.zeros((2, 3, 4, 5)), np.full((1, 2, 2), 0.5), np.full((1, 2, 2), -1), np.full((1, 2, 2), 256)]
)
def test_an_array_that_is_no_images_is_an_error(array: np.ndarray) -> None:
    with pytest.raises(DataError, match="expected"):
        read_images(array)


def test_the_inputs_come_back_from_what_is_saved(tmp_path) -> None:
    prepared = prepare(write_folder(tmp_path / "small"))
    assert isinstance(prepared.inputs, ImageInputs)
    assert ImageInputs.from_dict(prepared.inputs.to_dict()) == prepared.inputs
