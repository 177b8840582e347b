import json
from dataclasses import asdict, fields

import golden_metrics
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import metrics

CASES = golden_metrics.cases()
GOLDEN = json.loads(golden_metrics.FIXTURE.read_text(encoding="utf-8"))
MEASURES = ["AUC", "sAUC", "NSS", "CC", "SIM", "KLD", "IG"]


def measured(images):
    """What we measure where `golden_metrics.reference` tells what pysaliency does."""
    fixated = [case.fixated for case in images]
    sizes = [case.predicted.shape for case in images]
    values = {}
    for index, case in enumerate(images):
        others = metrics.nonfixations(index, fixated, sizes)
        found = asdict(metrics.scores(case.predicted, case.human, case.fixated, others))
        found["IG"] = metrics.ig(case.log_predicted, case.log_baseline, case.fixated)
        values[case.name] = found
    return values


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        for measure in MEASURES:
            assert found[name][measure] == pytest.approx(
                values[measure], rel=0, abs=1e-9, nan_ok=True
            ), f"{measure} of {name}"


@pytest.fixture(scope="module")
def found():
    return measured(CASES)


@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_every_measure_equals_what_pysaliency_gave(found, name):
    assert_same({name: found[name]}, {name: GOLDEN[name]})


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_measure_equals_what_pysaliency_gives_here(seed):
    pytest.importorskip("pysaliency")
    images = golden_metrics.cases(seed)
    assert_same(measured(images), golden_metrics.reference(images))


# Whole numbers keep ties and differences exact under the changes that the properties make.
whole_maps = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, max_side=8),
    elements=st.integers(-20, 20).map(float),
)
varied_maps = whole_maps.filter(lambda saliency: np.ptp(saliency) > 0)
two_maps = array_shapes(min_dims=2, max_dims=2, max_side=8).flatmap(
    lambda shape: st.tuples(
        *2 * [arrays(np.float64, shape, elements=st.integers(-20, 20).map(float))]
    )
)


@st.composite
def maps_with_points(draw, maps=whole_maps):
    saliency = draw(maps)
    height, width = saliency.shape
    pixels = st.tuples(st.integers(0, height - 1), st.integers(0, width - 1))
    points = st.lists(pixels, min_size=1, max_size=12)
    return saliency, *(tuple(np.array(draw(points)).T) for _ in range(2))


def test_auc_counts_the_pixels_below_a_fixation_and_half_of_those_equal_to_it():
    saliency = np.array([[0, 1], [2, 2], [3, 4]])
    assert metrics.auc(saliency, ([1], [0])) == pytest.approx((2 + 0.5 * 2) / 6)


def test_auc_counts_a_repeated_fixation_each_time():
    saliency = np.array([[0, 1], [2, 3]])
    once = [metrics.auc(saliency, (ys, xs)) for ys, xs in (([0], [0]), ([1], [1]))]
    repeated = metrics.auc(saliency, ([0, 1, 1, 1], [0, 1, 1, 1]))
    assert repeated == pytest.approx((once[0] + 3 * once[1]) / 4)


@given(maps_with_points())
def test_auc_and_sauc_do_not_change_under_a_growing_function_of_the_map(example):
    saliency, fixated, others = example
    for grown in (saliency**3 + saliency, np.exp(saliency / 10)):
        assert metrics.auc(grown, fixated) == metrics.auc(saliency, fixated)
        assert metrics.sauc(grown, fixated, others) == metrics.sauc(saliency, fixated, others)


@given(maps_with_points())
def test_auc_and_sauc_of_the_map_turned_over_are_the_rest_to_one(example):
    saliency, fixated, others = example
    assert metrics.auc(-saliency, fixated) == pytest.approx(1 - metrics.auc(saliency, fixated))
    assert metrics.sauc(-saliency, fixated, others) == pytest.approx(
        1 - metrics.sauc(saliency, fixated, others)
    )


@given(maps_with_points(), st.floats(-1e9, 1e9))
def test_auc_and_sauc_of_a_constant_map_are_half(example, value):
    saliency, fixated, others = example
    constant = np.full(saliency.shape, value)
    assert metrics.auc(constant, fixated) == 0.5
    assert metrics.sauc(constant, fixated, others) == 0.5


@given(maps_with_points())
def test_sauc_against_the_fixations_themselves_is_half(example):
    saliency, fixated, _ = example
    assert metrics.sauc(saliency, fixated, fixated) == pytest.approx(0.5)


def test_sauc_compares_with_the_given_positions_only():
    saliency = np.array([[9, 9, 9], [1, 2, 3]])
    # Above 1, equal to 2, below 3.
    assert metrics.sauc(saliency, ([1], [1]), ([1, 1, 1, 1], [0, 0, 1, 2])) == pytest.approx(
        2.5 / 4
    )


def test_scale_positions_moves_corners_of_pixels_and_rounds_down():
    ys, xs = metrics.scale_positions(([0, 3, 9], [0, 1, 2]), (10, 3), (5, 7))
    assert ys.tolist() == [0, 1, 4]
    assert xs.tolist() == [0, 2, 4]


@given(st.data())
def test_scale_positions_stays_inside_of_the_new_size(data):
    old, new = (data.draw(st.tuples(*2 * [st.integers(1, 5000)])) for _ in range(2))
    last = tuple(np.array([length - 1]) for length in old)
    for axis, length in zip(metrics.scale_positions(last, old, new), new, strict=True):
        assert 0 <= axis[0] < length


def test_nonfixations_collects_all_images_but_its_own_at_its_own_size():
    fixated = [([0, 1], [0, 1]), ([5], [6]), ([3, 3], [2, 2])]
    ys, xs = metrics.nonfixations(1, fixated, [(4, 4), (8, 8), (4, 2)])
    assert ys.tolist() == [0, 2, 6, 6]
    assert xs.tolist() == [0, 2, 8, 8]


def test_nonfixations_of_the_only_image_are_none():
    ys, xs = metrics.nonfixations(0, [([1], [1])], [(4, 4)])
    assert len(ys) == len(xs) == 0


def test_nss_is_in_standard_deviations_above_the_mean():
    assert metrics.nss(np.array([[0, 0, 0, 4]]), ([0], [3])) == pytest.approx(3 / 3**0.5)


@given(maps_with_points(varied_maps), st.floats(0.01, 100), st.floats(-100, 100))
def test_nss_does_not_change_under_affine_maps(example, factor, offset):
    saliency, fixated, _ = example
    expected = metrics.nss(saliency, fixated)
    assert metrics.nss(factor * saliency + offset, fixated) == pytest.approx(expected, abs=1e-6)
    assert metrics.nss(offset - factor * saliency, fixated) == pytest.approx(-expected, abs=1e-6)


@given(varied_maps)
def test_nss_of_all_pixels_is_zero(saliency):
    everywhere = np.nonzero(np.ones(saliency.shape))
    assert metrics.nss(saliency, everywhere) == pytest.approx(0, abs=1e-9)


# The mean of equal values is rounded to something else for some of these.
@pytest.mark.parametrize("value", [0, 0.1, 0.3, 1 / 3, 7.7, 255])
def test_nss_and_cc_of_a_constant_map_are_zero_whatever_its_value(value):
    constant = np.full((13, 17), value)
    human = np.arange(13 * 17).reshape(13, 17)
    assert metrics.nss(constant, ([1, 5], [2, 3])) == 0
    assert metrics.cc(constant, human) == 0


@pytest.mark.parametrize("value", [0, 0.1, 1])
def test_cc_with_a_constant_human_map_is_undefined(value):
    human = np.full((3, 4), value)
    assert np.isnan(metrics.cc(np.arange(12).reshape(3, 4), human))
    assert np.isnan(metrics.cc(human, human))


@given(two_maps)
def test_cc_and_sim_are_symmetric_and_bounded(maps):
    one, other = maps
    similarity = metrics.sim(one, other)
    assert similarity == metrics.sim(other, one)
    assert 0 <= similarity <= 1 + 1e-12
    if np.ptp(one) > 0 and np.ptp(other) > 0:
        correlation = metrics.cc(one, other)
        assert correlation == metrics.cc(other, one)
        assert -1 <= correlation <= 1


@given(varied_maps, st.floats(0.01, 100), st.floats(-100, 100))
def test_cc_with_an_affine_copy_is_one_and_turned_over_minus_one(saliency, factor, offset):
    assert metrics.cc(saliency, factor * saliency + offset) == pytest.approx(1)
    assert metrics.cc(saliency, offset - factor * saliency) == pytest.approx(-1)


@given(whole_maps, st.floats(0.01, 100))
def test_sim_of_a_map_with_its_multiple_is_one(saliency, factor):
    assert metrics.sim(saliency, factor * saliency) == pytest.approx(1)


def test_sim_is_the_mass_that_two_maps_share():
    assert metrics.sim(np.array([[1, 3]]), np.array([[30, 10]])) == pytest.approx(0.5)
    assert metrics.sim(np.array([[1, 0]]), np.array([[0, 1]])) == 0


def test_sim_shifts_a_map_with_negative_values_to_zero():
    assert metrics.sim(np.array([[-1, 2]]), np.array([[0, 5]])) == pytest.approx(1)


def test_sim_and_kld_take_a_map_of_zeros_as_uniform():
    zeros, uniform = np.zeros((2, 5)), np.ones((2, 5))
    human = np.arange(10).reshape(2, 5)
    for measure in (metrics.sim, metrics.kld):
        assert measure(zeros, human) == pytest.approx(measure(uniform, human))


def test_kld_is_of_the_human_map_from_the_predicted_one():
    predicted, human = np.array([[1, 3]]), np.array([[2, 2]])
    expected = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    assert metrics.kld(predicted, human) == pytest.approx(expected)


def test_kld_of_maps_that_do_not_overlap_is_set_by_the_regularisation():
    value = metrics.kld(np.array([[1, 0]]), np.array([[0, 1]]))
    assert value == pytest.approx(-np.log(2.2204e-16))


@given(two_maps)
def test_kld_is_not_negative(maps):
    assert metrics.kld(*maps) >= -1e-12


@given(whole_maps, st.floats(0.01, 100))
def test_kld_of_a_map_from_its_multiple_is_zero(saliency, factor):
    assert metrics.kld(saliency, factor * saliency) == pytest.approx(0, abs=1e-12)


@given(whole_maps)
def test_log_density_sums_to_one_and_is_finite(saliency):
    log = metrics.log_density(saliency)
    assert np.isfinite(log).all()
    assert np.exp(log).sum() == pytest.approx(1)


def test_log_density_does_not_depend_on_the_scale_of_the_map():
    saliency = np.array([[0, 1, 3]])
    assert metrics.log_density(saliency / 1e6) == pytest.approx(metrics.log_density(saliency))


def test_log_density_gives_a_zero_the_floor():
    log = metrics.log_density(np.array([[0, 1, 3]]), floor=0.1)
    assert np.exp(log) == pytest.approx(np.array([[0.1, 0.35, 0.85]]) / 1.3)


def test_ig_is_one_bit_for_twice_the_probability():
    baseline = np.full((2, 4), 1 / 8)
    predicted = np.array([[2, 2, 2, 2], [0.5, 0.5, 0.5, 0.5]]) / 8
    gains = [metrics.ig(np.log(predicted), np.log(baseline), ([y], [1])) for y in (0, 1)]
    assert gains == pytest.approx([1, -1])


def test_ig_is_the_mean_over_fixations():
    baseline, predicted = np.log(np.full((1, 2), 0.5)), np.log(np.array([[0.25, 0.75]]))
    expected = (3 * np.log2(0.75 / 0.5) + np.log2(0.25 / 0.5)) / 4
    assert metrics.ig(predicted, baseline, ([0] * 4, [0, 1, 1, 1])) == pytest.approx(expected)


@given(maps_with_points())
def test_ig_of_the_baseline_itself_is_zero(example):
    saliency, fixated, _ = example
    baseline = metrics.log_density(saliency)
    assert metrics.ig(baseline, baseline, fixated) == 0


def test_ig_is_minus_infinity_where_a_fixation_was_impossible():
    with np.errstate(divide="ignore"):
        predicted = np.log(np.array([[0.0, 1.0]]))
    baseline = np.log(np.array([[0.5, 0.5]]))
    assert metrics.ig(predicted, baseline, ([0, 0], [0, 1])) == -np.inf


SALIENCY = np.array([[0.1, 0.5, 0.2], [0.9, 0.3, 0.3]])
HUMAN = np.array([[0.0, 0.2, 0.1], [1.0, 0.4, 0.0]])
CENTRE = np.array([[1.0, 2.0, 1.0], [1.0, 2.0, 1.0]])
FIXATED = (np.array([1, 0]), np.array([0, 1]))
OTHERS = (np.array([0, 0, 1]), np.array([0, 1, 1]))


def test_scores_has_the_seven_measures_by_their_names():
    assert [field.name for field in fields(metrics.Scores)] == MEASURES


def test_scores_gives_what_each_measure_gives_alone():
    gain = metrics.ig(metrics.log_density(SALIENCY), metrics.log_density(CENTRE), FIXATED)
    assert metrics.scores(SALIENCY, HUMAN, FIXATED, OTHERS, CENTRE) == metrics.Scores(
        AUC=metrics.auc(SALIENCY, FIXATED),
        sAUC=metrics.sauc(SALIENCY, FIXATED, OTHERS),
        NSS=metrics.nss(SALIENCY, FIXATED),
        CC=metrics.cc(SALIENCY, HUMAN),
        SIM=metrics.sim(SALIENCY, HUMAN),
        KLD=metrics.kld(SALIENCY, HUMAN),
        IG=gain,
    )


def left_out(scores):
    return [name for name, value in asdict(scores).items() if value is None]


@pytest.mark.parametrize("fixated", [None, np.nonzero(np.zeros((2, 3)))])
def test_scores_without_fixations_leaves_out_what_needs_them(fixated):
    scores = metrics.scores(SALIENCY, HUMAN, fixated, OTHERS, CENTRE)
    assert left_out(scores) == ["AUC", "sAUC", "NSS", "IG"]


@pytest.mark.parametrize("others", [None, np.nonzero(np.zeros((2, 3)))])
def test_scores_without_other_images_leaves_out_sauc(others):
    assert left_out(metrics.scores(SALIENCY, HUMAN, FIXATED, others, CENTRE)) == ["sAUC"]


def test_scores_without_a_baseline_leaves_out_ig():
    assert left_out(metrics.scores(SALIENCY, HUMAN, FIXATED, OTHERS)) == ["IG"]


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
def test_scores_of_smaller_types_are_computed_in_float64(dtype):
    saliency, human = (np.rint(200 * each).astype(dtype) for each in (SALIENCY, HUMAN))
    as_float64 = metrics.scores(
        saliency.astype(np.float64), human.astype(np.float64), FIXATED, OTHERS, CENTRE
    )
    assert metrics.scores(saliency, human, FIXATED, OTHERS, CENTRE) == as_float64


def test_scores_leaves_the_maps_as_they_are():
    given_maps = [each - 0.2 for each in (SALIENCY, HUMAN, CENTRE)]
    before = [each.copy() for each in given_maps]
    metrics.scores(given_maps[0], given_maps[1], FIXATED, OTHERS, given_maps[2])
    assert all(np.array_equal(*pair) for pair in zip(given_maps, before, strict=True))


POINT_MEASURES = {
    "AUC": lambda positions: metrics.auc(SALIENCY, positions),
    "sAUC": lambda positions: metrics.sauc(SALIENCY, positions, OTHERS),
    "sAUC, others": lambda positions: metrics.sauc(SALIENCY, FIXATED, positions),
    "NSS": lambda positions: metrics.nss(SALIENCY, positions),
    "IG": lambda positions: metrics.ig(np.log(SALIENCY), np.log(CENTRE), positions),
}


@pytest.mark.parametrize("measure", POINT_MEASURES)
@pytest.mark.parametrize("position", [(-1, 0), (0, -1), (2, 0), (0, 3)])
def test_positions_outside_of_the_map_are_refused(measure, position):
    ys, xs = np.array([(0, 0), position]).T
    with pytest.raises(ValueError, match="1 of 2 positions are outside"):
        POINT_MEASURES[measure]((ys, xs))


@pytest.mark.parametrize("measure", POINT_MEASURES)
def test_measuring_at_no_position_is_refused(measure):
    with pytest.raises(ValueError, match="no positions"):
        POINT_MEASURES[measure]((np.array([], int), np.array([], int)))


MAP_MEASURES = {
    "AUC": lambda saliency: metrics.auc(saliency, FIXATED),
    "sAUC": lambda saliency: metrics.sauc(saliency, FIXATED, OTHERS),
    "NSS": lambda saliency: metrics.nss(saliency, FIXATED),
    "CC": lambda saliency: metrics.cc(saliency, HUMAN),
    "SIM": lambda saliency: metrics.sim(saliency, HUMAN),
    "KLD": lambda saliency: metrics.kld(saliency, HUMAN),
    "log_density": metrics.log_density,
}


@pytest.mark.parametrize("measure", MAP_MEASURES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_is_refused(measure, value):
    broken = SALIENCY.copy()
    broken[1, 2] = value
    with pytest.raises(ValueError, match="NaN or infinity"):
        MAP_MEASURES[measure](broken)


@pytest.mark.parametrize("measure", MAP_MEASURES)
@pytest.mark.parametrize("shape", [(6,), (2, 3, 1), (0, 3)])
def test_an_array_that_is_no_map_is_refused(measure, shape):
    with pytest.raises(ValueError, match="height and a width"):
        MAP_MEASURES[measure](np.ones(shape))


@pytest.mark.parametrize("measure", [metrics.cc, metrics.sim, metrics.kld])
def test_maps_of_different_shapes_are_refused(measure):
    with pytest.raises(ValueError, match="differ in shape"):
        measure(SALIENCY[:1], HUMAN)


def test_ig_refuses_densities_of_different_shapes():
    with pytest.raises(ValueError, match="differ in shape"):
        metrics.ig(np.log(SALIENCY), np.log(CENTRE[:, :2]), ([0], [0]))
