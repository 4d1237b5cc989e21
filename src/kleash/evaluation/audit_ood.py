"""How much of what a reward model will have to judge lies outside what it was trained on.

A state is what the model's head reads: the pooled hidden vector of one answer. Distances are Mahalanobis', with a
covariance that is shrunk, for there may be more dimensions than the answers can support.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kleash.errors import DataError
from kleash.maths.intervals import Interval, wilson_interval

States = NDArray[np.float64]

PERCENTILE = 99.0
MIN_STATES = 20


def outside_share(training_ND: States, other_MD: States) -> Interval:
    """Return the share of other states farther out than the 99th percentile of the training states; .01 = all alike.

    Mean and covariance are estimated on every other training state and the percentile on those between: on its own
    states a covariance finds everything near.
    Raises DataError with too few training states.
    Source: Lee et al. 2018, arXiv:1807.03888; shrinkage: Ledoit and Wolf 2004.
    """
    if len(training_ND) < 2 * MIN_STATES:
        raise DataError(
            f"There are states of {len(training_ND)} training answers. Expected at least {2 * MIN_STATES} to say what "
            "is usual. Give more preference pairs, or leave the reference out."
        )
    from sklearn.covariance import LedoitWolf

    # A model's last states can have a few huge dimensions; on one scale the shrinkage treats all of them alike.
    scale_D = training_ND.std(axis=0) + 1e-8
    fitted = LedoitWolf().fit(training_ND[::2] / scale_D)
    border = np.percentile(fitted.mahalanobis(training_ND[1::2] / scale_D), PERCENTILE)
    return wilson_interval(int((fitted.mahalanobis(other_MD / scale_D) > border).sum()), len(other_MD))
