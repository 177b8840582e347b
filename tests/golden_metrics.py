"""Make tests/fixtures/golden_metrics.json: what pysaliency, the benchmark's code, measures.

pysaliency is no dependency of this project; from its root, in an environment of its own:

    python3 -m venv peers
    peers/bin/pip install torch "setuptools<81" pysaliency==0.2.22
    peers/bin/python tests/golden_metrics.py
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FIXTURE = Path(__file__).parent / "fixtures" / "golden_metrics.json"


@dataclass(frozen=True)
class Case:
    """An image with its maps; the fixations of all other cases are its non-fixations."""

    name: str
    predicted: np.ndarray
    human: np.ndarray
    fixated: tuple[np.ndarray, np.ndarray]
    log_predicted: np.ndarray
    log_baseline: np.ndarray


def cases(seed: int = 0) -> list[Case]:
    """Return ordinary maps and odd ones, of several sizes."""
    # RandomState's numbers are the same in every version of NumPy, default_rng's need not be.
    rng = np.random.RandomState(seed)
    made = []

    def add(name, predicted, human=None, fixated=None, count=40):
        height, width = predicted.shape
        if human is None:
            human = rng.rand(height, width) ** 2
        if fixated is None:
            fixated = rng.randint(0, (height, width), (count, 2))
        log_densities = []
        for _ in range(2):
            density = 0.01 + rng.rand(height, width)
            log_densities.append(np.log(density / density.sum()))
        ys, xs = np.array(fixated).T
        made.append(Case(name, predicted, human, (ys, xs), *log_densities))

    add("random", rng.rand(12, 17))
    hill = np.minimum.outer(np.minimum(np.arange(20), np.arange(20)[::-1]), np.arange(1.0, 16))
    add("symmetric", hill, hill + rng.rand(20, 15))
    add("many ties", rng.randint(0, 3, (13, 11)), rng.randint(0, 2, (13, 11)))
    add("8 bits", rng.randint(0, 256, (16, 16)).astype(np.uint8), rng.randint(0, 256, (16, 16)))
    add("one fixation", rng.rand(10, 30), count=1)
    add("one fixation on the maximum", np.eye(1, 60, 33).reshape(6, 10), fixated=[(3, 3)])
    # 11 * (30 / 22) is 15 on paper and below it in floating point.
    add("repeated fixations", rng.rand(10, 22), fixated=[(4, 11)] * 5 + [(0, 2)] * 3 + [(9, 21)])
    corners = [(0, 0), (0, 20), (6, 0), (6, 20)]
    add("fixations in corners", rng.rand(7, 21), fixated=corners)
    border = [(y, x) for y in range(9) for x in range(8) if y in (0, 8) or x in (0, 7)]
    add("fixations on all of the border", rng.rand(9, 8), fixated=border)
    everywhere = [(y, x) for y in range(5) for x in range(6)]
    add("every pixel fixated", rng.rand(5, 6), fixated=everywhere)
    add("negative values", rng.rand(12, 12) - 0.3, rng.rand(12, 12) - 0.6)
    add("only negative values", -1 - rng.rand(8, 13), -1 - rng.rand(8, 13))
    add("mostly zeros", (rng.rand(15, 15) > 0.9) * 1.0, (rng.rand(15, 15) > 0.9) * rng.rand(15, 15))
    # Powers of two: pysaliency's NSS of other constants depends on how their mean is rounded.
    add("constant", np.full((10, 10), 0.5))
    add("negative constant", np.full((8, 16), -2.0))
    add("zeros", np.zeros((9, 7)))
    add("constant human map", rng.rand(7, 9), np.full((7, 9), 0.25))
    add("human map of zeros", rng.rand(8, 9), np.zeros((8, 9)))
    add("constant maps", np.ones((6, 11)), np.full((6, 11), 4.0))
    shared = rng.rand(11, 10)
    add("equal maps", shared, shared)
    add("opposite maps", shared, 1 - shared)
    add("maps without overlap", np.eye(10), 1 - np.eye(10))
    add("tiny values", 1e-12 * rng.rand(10, 12), 1e-12 * rng.rand(10, 12))
    add("large offset", 1000 + rng.rand(10, 12), 1000 + rng.rand(10, 12))
    add("one row", rng.rand(1, 30))
    add("tall", rng.rand(40, 5))
    return made


def reference(images: list[Case]) -> dict[str, dict[str, float]]:
    """Return what pysaliency measures for each case: name -> measure -> value."""
    import pysaliency
    from pysaliency.metrics import CC, SIM, MIT_KLDiv

    class ByIndex(pysaliency.SaliencyMapModel):
        def _saliency_map(self, stimulus):
            return images[stimulus[0, 0, 0]].predicted

    class ByIndexLog(pysaliency.Model):
        def __init__(self, field):
            super().__init__()
            self.field = field

        def _log_density(self, stimulus):
            return getattr(images[stimulus[0, 0, 0]], self.field)

    stimuli = pysaliency.Stimuli(
        [np.full((*case.predicted.shape, 3), index, np.uint8) for index, case in enumerate(images)]
    )
    fixations = pysaliency.Fixations.create_without_history(
        x=np.concatenate([case.fixated[1] for case in images]).astype(float),
        y=np.concatenate([case.fixated[0] for case in images]).astype(float),
        n=np.repeat(np.arange(len(images)), [len(case.fixated[0]) for case in images]),
    )
    model, gain = ByIndex(), ByIndexLog("log_predicted")
    per_fixation = {
        "AUC": model.AUCs(stimuli, fixations, nonfixations="uniform"),
        "sAUC": model.AUCs(stimuli, fixations, nonfixations="shuffled"),
        "NSS": model.NSSs(stimuli, fixations),
        "IG": gain.information_gains(stimuli, fixations, ByIndexLog("log_baseline")),
    }
    values = {}
    for index, case in enumerate(images):
        here = fixations.n == index
        values[case.name] = {
            "CC": float(CC(case.predicted, case.human)),
            "SIM": float(SIM(case.predicted, case.human)),
            "KLD": float(MIT_KLDiv(case.predicted, case.human)),
            **{name: float(each[here].mean()) for name, each in per_fixation.items()},
        }
    return values


if __name__ == "__main__":
    FIXTURE.parent.mkdir(exist_ok=True)
    FIXTURE.write_text(json.dumps(reference(cases()), indent=1) + "\n", encoding="utf-8")
