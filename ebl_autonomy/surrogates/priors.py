"""What is believed of the models before anything is measured: priors and bounds of their hyper-parameters."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from ebl_autonomy.space import FloatArray
from ebl_autonomy.surrogates.base import InputLayout

__all__ = [
    "CLOCK_PRIOR",
    "DRIFT_EVIDENCE",
    "DRIFT_SUSPECTED",
    "LEAST_OUTLIER",
    "NOISE_PRIOR",
    "NO_INFLUENCE",
    "OUTLIER_COST",
    "OUTLIER_SHARE",
    "PAST_EVIDENCE",
    "SHORTEST_DRIFT",
    "SIGNAL_BOUNDS",
    "SIGNAL_PRIOR",
    "VALIDITY_MIN_LENGTH_SCALE",
    "VALIDITY_NOISE",
    "scale_prior",
]

VALIDITY_NOISE: Final = 1e-2
"""Variance of the labels of validity, 1 or 0: a point that was valid may be invalid when it is measured again."""
VALIDITY_MIN_LENGTH_SCALE: Final = 0.4
"""The shortest length scale of validity. Labels are steps: with shorter scales, each would say nothing about others."""
NOISE_PRIOR: Final = (-1.0, 2.0)
"""Mean and standard deviation of the logarithm of the noise variance, in units of the outcome's variance. The most
likely noise is a twelfth of the outcome's spread; two nats of evidence move it to a half."""
SIGNAL_PRIOR: Final = 0.3
"""Standard deviation of the logarithm of the signal's standard deviation, in units of the outcome's: clustered results
vary less than the outcome does over the domain, and noisy ones vary more."""
SIGNAL_BOUNDS: Final = (0.1, 10.0)
"""Bounds of the signal's standard deviation, in units of the outcome's."""
CLOCK_PRIOR: Final = (0.0, 1.0)
"""Likewise of the length scale of the clock: how long a measurement holds, in units of 50 measurements."""
SHORTEST_DRIFT: Final = math.log(15.0 / 50.0)
"""The logarithm of the shortest length scale of the clock: what changes from one measurement to the next is noise."""
PAST_PRIOR: Final = (math.log(3.0), 1.0)
"""Likewise of the length scale between the present and a past experiment: at 3 they correlate by 0.9, at 0.3 by 0."""
NO_INFLUENCE: Final = math.log(1e6)
"""The logarithm of the length scale of an input that has no influence."""
DRIFT_EVIDENCE: Final = 5.0
"""A drift is modelled if it makes the measurements more probable by this many nats. White noise alone gains four."""
DRIFT_SUSPECTED: Final = 2.0
"""The evidence, in nats, beyond which a drift is suspected, although not yet modelled."""
PAST_EVIDENCE: Final = 2.0
"""Past experiments are left out if the present one is predicted better without them by this many nats."""
OUTLIER_COST: Final = 6.0
"""A reading counts as an outlier if that makes the measurements more probable by this many nats: about four standard
deviations."""
LEAST_OUTLIER: Final = 0.1
"""Prior standard deviations that an outlier is off at least. What is smaller does little harm, and the last digits of a
simulation are smooth on no scale."""
OUTLIER_SHARE: Final = 0.2
"""The largest share of outliers."""


def scale_prior(inputs: InputLayout) -> FloatArray:
    """Mean and standard deviation of the logarithm of each length scale, shape (d, 2).

    The mean grows with the number of coordinates (Hvarfner et al. 2024, ICML).
    """
    chosen = inputs.searched + inputs.context
    scales = [(math.sqrt(2.0) + 0.5 * math.log(chosen), math.sqrt(3.0))] * chosen
    prior = np.array([*scales, *[CLOCK_PRIOR] * inputs.clock, *[PAST_PRIOR] * inputs.pasts])
    prior[:, 0] += np.log(inputs.units)
    return prior
