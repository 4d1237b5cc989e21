"""States outside the training states."""

import numpy as np
import pytest

from kleash.errors import DataError
from kleash.evaluation.audit_scoring import outside_share

RNG = np.random.default_rng(0)
TRAINING = RNG.normal(size=(800, 6)) @ RNG.normal(size=(6, 6))


def test_states_like_those_of_training_are_outside_once_in_a_hundred():
    found = outside_share(TRAINING[:600], TRAINING[600:])
    assert found.low < 0.01 < found.high
    assert found.n == 200


def test_states_elsewhere_are_outside():
    assert outside_share(TRAINING[:600], TRAINING[600:] + 8 * TRAINING.std()).value == 1.0


def test_the_scale_of_a_dimension_does_not_matter():
    scale = np.array([1e4, 1.0, 1.0, 1e-3, 1.0, 1.0])
    moved = TRAINING[600:] * 1.5
    assert outside_share(TRAINING[:600] * scale, moved * scale) == outside_share(TRAINING[:600], moved)


def test_too_few_training_states_are_refused():
    with pytest.raises(DataError, match=r"states of 39 training answers. Expected at least 40"):
        outside_share(TRAINING[:39], TRAINING)
