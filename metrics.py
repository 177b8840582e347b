"""Measures of how well a predicted map agrees with where people looked: pure functions on arrays.

Definitions: Kuemmerer, Wallis, Bethge, "Saliency benchmarking made easy", ECCV 2018.
"""

import numpy as np


def cc(predicted: np.ndarray, human: np.ndarray) -> float:
    """Return Pearson's correlation coefficient of two maps.

    Args:
        predicted: float array [height, width].
        human: The blurred fixation map, of the same shape.

    Returns:
        -1..1; NaN where either map is constant.
    """
    one = np.asarray(predicted, dtype=np.float64)
    other = np.asarray(human, dtype=np.float64)
    one, other = one - one.mean(), other - other.mean()
    scale = np.sqrt((one**2).sum() * (other**2).sum())
    return float((one * other).sum() / scale) if scale > 0 else float("nan")


def kld(predicted: np.ndarray, human: np.ndarray, eps: float = 2.2204e-16) -> float:
    """Return the Kullback-Leibler divergence of the human map from the predicted one.

    Args:
        predicted: float array [height, width], 0 and up.
        human: The blurred fixation map, of the same shape.
        eps: The MIT/Tuebingen benchmark's regularisation.

    Returns:
        0 for equal distributions, and up.
    """
    q = np.asarray(predicted, dtype=np.float64)
    p = np.asarray(human, dtype=np.float64)
    q, p = q / q.sum(), p / p.sum()
    return float((p * np.log(eps + p / (eps + q))).sum())
