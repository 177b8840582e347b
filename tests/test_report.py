import numpy as np
import pytest
from conftest import FIXTURES, decoded, tree
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import report
from utils import History

PICTURE = decoded(FIXTURES / "stimuli" / "952.jpg")
NOBODY = np.zeros(PICTURE.shape[:2], np.float32)


@given(st.integers(1, 30), st.integers(1, 30))
def test_an_overlay_has_the_size_of_its_image(height, width):
    picture = np.zeros((height, width, 3), np.uint8)
    laid = report.overlay(picture, np.ones((height, width), np.float32))
    assert laid.shape == picture.shape
    assert laid.dtype == np.uint8


def test_where_nobody_looks_the_image_keeps_its_look():
    laid = report.overlay(PICTURE, NOBODY).astype(float)
    assert np.corrcoef(laid.ravel(), PICTURE.astype(float).ravel())[0, 1] > 0.99


def test_where_everybody_looks_the_image_still_shows_through():
    one, other = (
        report.overlay(picture, NOBODY + 1).astype(int) for picture in (PICTURE, PICTURE[::-1])
    )
    assert np.abs(one - other).max() > 20


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_places_of_more_attention_differ_more_from_the_image(grey):
    picture = np.full((1, 4, 3), grey, np.uint8)
    attention = np.array([[0, 0.3, 0.6, 1]], np.float32)
    laid = report.overlay(picture, attention).astype(int)
    change = np.abs(laid - laid[:, :1]).sum(axis=-1)[0]
    assert change[0] == 0
    assert (change[1:] > 30).all()


def test_the_colours_of_little_and_much_attention_can_be_told_apart():
    grey = np.full((1, 2, 3), 128, np.uint8)
    little, much = report.overlay(grey, np.array([[0.3, 1]], np.float32))[0].astype(int)
    assert np.abs(little - much).sum() > 100


def test_the_image_itself_is_not_changed():
    before = PICTURE.copy()
    report.overlay(PICTURE, NOBODY + 1)
    np.testing.assert_array_equal(PICTURE, before)


@pytest.mark.parametrize("epochs", [1, 2, 10])
def test_the_curve_is_one_png_for_any_number_of_epochs(tmp_path, epochs):
    losses = np.linspace(1, 0.5, epochs)
    report.draw_history(History(losses, losses + 0.1), tmp_path / "new" / "curve.png")
    assert list(tree(tmp_path)) == ["new/curve.png"]
    with Image.open(tmp_path / "new" / "curve.png") as image:
        assert image.format == "PNG"


def test_curves_of_other_losses_look_different(tmp_path):
    report.draw_history(History([1, 0.5], [1, 0.7]), tmp_path / "a.png")
    report.draw_history(History([1, 0.5], [1, 0.9]), tmp_path / "b.png")
    assert (decoded(tmp_path / "a.png") != decoded(tmp_path / "b.png")).any()
