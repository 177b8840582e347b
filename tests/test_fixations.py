import numpy as np
import pytest
from conftest import decoded, encoded, real_points
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

import fixations

FULL_SIZE = ("645", "878", "949", "952")


def through_jpeg(brightness: np.ndarray, quality: int) -> np.ndarray:
    content = encoded(brightness.astype(np.uint8), format="JPEG", quality=quality)
    return decoded(content).astype(np.float32)


def discs(points: np.ndarray, radius: float) -> np.ndarray:
    return (ndimage.distance_transform_edt(~points) <= radius) * np.float32(255)


def smooth(points: np.ndarray, sigma: float) -> np.ndarray:
    blurred = ndimage.gaussian_filter(points.astype(float), sigma)
    return (blurred / blurred.max() * 255).astype(np.float32)


masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


@given(
    points=hnp.arrays(
        np.uint8,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40),
        elements=st.sampled_from([0, 0, 0, 1, 3]),
    ),
    sigma=st.floats(0.3, 30),
)
def test_blur_equals_scipys_gaussian_filter(points, sigma):
    expected = ndimage.gaussian_filter(points.astype(np.float64), sigma)
    np.testing.assert_allclose(fixations.blur(points, sigma), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 3)])
def test_blur_equals_scipy_where_the_image_is_far_smaller_than_the_kernel(shape):
    points = np.zeros(shape, dtype=bool)
    points[0, 0] = True
    expected = ndimage.gaussian_filter(points.astype(np.float64), 16)
    np.testing.assert_allclose(fixations.blur(points, 16), expected, rtol=1e-6)


@pytest.mark.parametrize("stem", FULL_SIZE)
def test_blur_of_real_fixations_equals_scipy(stem):
    points = real_points(stem, "full_size")
    expected = ndimage.gaussian_filter(points.astype(np.float64), 16)
    np.testing.assert_allclose(fixations.blur(points, 16), expected, rtol=1e-6, atol=1e-9)


def test_blur_without_any_fixation_is_zero():
    np.testing.assert_array_equal(fixations.blur(np.zeros((5, 7), dtype=bool), 2), np.zeros((5, 7)))


@pytest.mark.parametrize("stem", FULL_SIZE)
def test_real_points_look_like_points(stem):
    assert fixations.looks_like_points(real_points(stem, "full_size") * np.float32(255))


def test_a_single_point_looks_like_points():
    brightness = np.zeros((200, 300), dtype=np.float32)
    brightness[50, 60] = 255
    assert fixations.looks_like_points(brightness)


@pytest.mark.parametrize("radius", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("stem", FULL_SIZE)
def test_small_discs_look_like_points(stem, radius):
    assert fixations.looks_like_points(discs(real_points(stem, "full_size"), radius))


@pytest.mark.parametrize("quality", [50, 75, 90, 95])
@pytest.mark.parametrize("radius", [0, 1, 3])
@pytest.mark.parametrize("stem", FULL_SIZE)
def test_points_and_discs_through_jpeg_look_like_points(stem, radius, quality):
    drawn = discs(real_points(stem, "full_size"), radius)
    assert fixations.looks_like_points(through_jpeg(drawn, quality))


def test_counted_fixations_look_like_points():
    counts = real_points("952", "full_size") * np.random.RandomState(0).randint(1, 6, (480, 640))
    assert fixations.looks_like_points(counts.astype(np.float32))


@pytest.mark.parametrize("sigma", [3, 8, 16, 40])
@pytest.mark.parametrize("stem", FULL_SIZE)
def test_blurred_maps_look_smooth(stem, sigma):
    assert not fixations.looks_like_points(smooth(real_points(stem, "full_size"), sigma))


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("stem", FULL_SIZE)
def test_blurred_maps_through_jpeg_look_smooth(stem, quality):
    blurred = smooth(real_points(stem, "full_size"), 16)
    assert not fixations.looks_like_points(through_jpeg(blurred, quality))


@pytest.mark.parametrize("levels", [5, 8, 16])
def test_blurred_maps_of_few_grey_levels_look_smooth(levels):
    blurred = smooth(real_points("952", "full_size"), 16)
    steps = np.rint(blurred / 255 * (levels - 1))
    assert not fixations.looks_like_points(steps.astype(np.float32))


def test_a_blurred_single_fixation_looks_smooth():
    point = np.zeros((200, 300), dtype=bool)
    point[50, 60] = True
    assert not fixations.looks_like_points(smooth(point, 16))


@given(masks)
def test_every_lit_pixel_of_a_clean_map_of_single_points_is_a_fixation(mask):
    apart = np.zeros((mask.shape[0] * 3, mask.shape[1] * 3), dtype=bool)
    apart[1::3, 1::3] = mask
    np.testing.assert_array_equal(fixations.extract_points(apart * np.float32(255)), apart)


def test_dark_points_of_a_map_that_counts_fixations_are_kept():
    counts = np.zeros((60, 80), dtype=np.float32)
    counts[10, 10], counts[30, 40], counts[50, 70] = 1, 2, 255
    assert fixations.extract_points(counts).sum() == 3


@pytest.mark.parametrize("quality", [50, 75, 90, 95, 100])
@pytest.mark.parametrize("radius", [0, 1, 3])
@pytest.mark.parametrize("stem", FULL_SIZE)
def test_points_through_jpeg_come_back_without_its_ringing(stem, radius, quality):
    points = real_points(stem, "full_size")
    drawn = discs(points, radius)
    extracted = fixations.extract_points(through_jpeg(drawn, quality))
    assert not np.any(extracted & (discs(points, radius + 1) == 0))
    assert extracted.sum() == pytest.approx((drawn > 0).sum(), rel=0.05)


@pytest.mark.parametrize("stem", FULL_SIZE)
def test_fixations_that_a_map_counts_are_all_kept(stem):
    points = real_points(stem, "full_size")
    counts = points * np.random.RandomState(0).randint(1, 6, points.shape).astype(np.float32)
    np.testing.assert_array_equal(fixations.extract_points(counts), points)


@given(
    points=masks,
    height=st.integers(1, 80),
    width=st.integers(1, 80),
)
def test_a_moved_point_is_within_one_pixel_of_its_place(points, height, width):
    moved = fixations.move_points(points, (height, width))
    assert moved.shape == (height, width)
    scale = np.array([height, width]) / np.array(points.shape)
    places = (np.argwhere(points) + 0.5) * scale - 0.5
    for place in places:
        assert np.abs(np.argwhere(moved) - place).max(axis=1).min() <= 1


@given(points=masks, by=st.floats(1, 4))
def test_moving_points_to_a_larger_image_keeps_their_number(points, by):
    size = tuple(int(np.ceil(edge * by)) for edge in points.shape)
    assert fixations.move_points(points, size).sum() == points.sum()


@given(points=masks, height=st.integers(1, 80), width=st.integers(1, 80))
def test_moving_points_invents_none(points, height, width):
    assert fixations.move_points(points, (height, width)).sum() <= points.sum()


@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=10),
        elements=st.floats(0, 1e6, allow_subnormal=False).filter(lambda v: v == 0 or v > 1e-3),
    ).filter(np.any)
)
def test_a_scaled_map_has_the_maximum_255_and_keeps_its_proportions(saliency):
    scaled = fixations.to_uint8(saliency)
    assert scaled.dtype == np.uint8
    assert scaled.max() == 255
    np.testing.assert_allclose(scaled, saliency / saliency.max() * 255, atol=0.5 + 1e-6)


def test_a_map_of_zeros_is_scaled_to_zeros():
    np.testing.assert_array_equal(fixations.to_uint8(np.zeros((3, 4))), np.zeros((3, 4)))
