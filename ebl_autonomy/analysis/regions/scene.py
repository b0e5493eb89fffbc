"""Whether a rule holds for a region, how nearly, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from scipy import ndimage

from ebl_autonomy.analysis.regions.patches import EIGHT, Patch, Windows
from ebl_autonomy.analysis.regions.rules import AllOf, Condition, Feature, Not, Relation, Rule
from ebl_autonomy.analysis.regions.segmentation import Segment
from ebl_autonomy.errors import BadInputError, unknown_text

__all__ = ["Scene", "Verdict"]

INSIDE: Final = 0.8
"""Share of the area that is enough for "inside": the outermost pixels belong to either side by chance."""


@dataclass(frozen=True)
class Verdict:
    """What a rule says of a region.

    Attributes
    ----------
    holds : bool
    degree : float
        How nearly it holds, from 0 to 1: the share that lies inside, or the distance over that asked for.
    confidence : float
        Probability that what the rule relies on is there: the other channel's region, or a feature's limit within its
        noise.
    """

    holds: bool
    degree: float
    confidence: float


class Scene:
    """All segments of all channels of one map, as what rules refer to.

    Parameters
    ----------
    segments : mapping of str to sequence of Segment
        By channel.
    shape : (ny, nx)
    pixel : (width, height)
        Motor units.
    """

    def __init__(
        self, segments: Mapping[str, Sequence[Segment]], shape: tuple[int, int], pixel: tuple[float, float]
    ) -> None:
        self.others = {name: _Other(parts, shape, pixel) for name, parts in segments.items()}

    def judge(self, rule: Rule, mask: np.ndarray | Patch, features: Mapping[str, float]) -> Verdict:
        """What a rule says of a region.

        Parameters
        ----------
        rule : Rule
        mask : bool array, shape (ny, nx), or Patch
            The region.
        features : mapping of str to float
            A limit on a feature that is not among them does not hold, and nor does its contrary for sure: a region has
            no features of a channel that was not measured in it.

        Raises
        ------
        BadInputError
            If the rule names a channel that there is not.
        """
        if rule.where is None:
            return Verdict(True, 1.0, 1.0)
        return self._judge(rule.where, Patch.of(mask), features)

    def _judge(self, condition: Condition, patch: Patch, features: Mapping[str, float]) -> Verdict:
        if isinstance(condition, Relation):
            return self._relation(condition, patch)
        if isinstance(condition, Feature):
            return _limit(condition, features)
        if isinstance(condition, Not):
            inner = self._judge(condition.negated, patch, features)
            # That something is not there relies on nothing; a limit is as sure as its contrary.
            sure = inner.confidence if isinstance(condition.negated, Feature) else 1.0
            return Verdict(not inner.holds, 1.0 - inner.degree, sure)
        if isinstance(condition, AllOf):
            every = [self._judge(part, patch, features) for part in condition.all]
            return Verdict(
                all(one.holds for one in every),
                min(one.degree for one in every),
                math.prod(one.confidence for one in every),
            )
        some = [self._judge(part, patch, features) for part in condition.any]
        best = [one for one in some if one.holds] or some
        return Verdict(bool(best[0].holds), max(one.degree for one in some), max(one.confidence for one in best))

    def _relation(self, relation: Relation, patch: Patch) -> Verdict:
        if relation.of not in self.others:
            raise BadInputError(
                f"the rule's channel {relation.of!r}: {unknown_text(relation.of, self.others, 'channels')}"
            )
        other = self.others[relation.of]
        share = float(patch.of_map(other.mask).mean())
        distance = float(patch.of_map(other.distance).min())
        next_to = bool(patch.of_map(other.grown).any())
        if relation.relation == "inside":
            return Verdict(share >= INSIDE, share, other.sure(patch))
        if relation.relation == "outside":
            return Verdict(share == 0.0, 1.0 - share, 1.0)
        if relation.relation == "overlaps":
            return Verdict(share > 0.0, float(share > 0.0), other.sure(patch))
        if relation.relation == "touches":
            return Verdict(next_to, float(next_to), other.sure_next_to(patch))
        if relation.relation == "contains":
            met = [other.parts[number] for number in other.windows.meeting(patch.window)]
            held = [(part.patch.common(patch) / part.patch.pixels, part.confidence) for part in met]
            degree, sure = max(held, default=(0.0, 1.0))
            return Verdict(degree >= INSIDE, degree, sure)
        by = relation.by
        if relation.relation == "near":
            assert by is not None
            return Verdict(distance <= by, 1.0 if distance <= by else by / distance, other.sure_within(patch, by))
        if by is None:
            return Verdict(not next_to, float(not next_to), 1.0)
        return Verdict(distance > by, 1.0 if distance > by else distance / by if by else 0.0, 1.0)


@dataclass(frozen=True, eq=False)
class _Other:
    """The segments of one channel."""

    parts: Sequence[Segment]
    shape: tuple[int, int]
    pixel: tuple[float, float]

    @cached_property
    def mask(self) -> np.ndarray:
        mask: np.ndarray = np.zeros(self.shape, dtype=bool)
        for part in self.parts:
            part.patch.add_to(mask)
        return mask

    @cached_property
    def windows(self) -> Windows:
        return Windows([part.patch for part in self.parts])

    @cached_property
    def confidence(self) -> np.ndarray:
        """Of the surest segment in each pixel; -1 without one."""
        confidence = np.full(self.shape, -1.0)
        for part in self.parts:
            inside = confidence[part.patch.window]
            np.maximum(inside, part.confidence, out=inside, where=part.patch.mask)
        return confidence

    @cached_property
    def grown(self) -> np.ndarray:
        return np.asarray(ndimage.binary_dilation(self.mask, EIGHT))

    @cached_property
    def distance(self) -> np.ndarray:
        """Of each pixel to the nearest of the segments, centre to centre, in motor units; infinite if there is none."""
        if not self.mask.any():
            return np.full(self.shape, math.inf)
        width, height = self.pixel
        return np.asarray(ndimage.distance_transform_edt(~self.mask, sampling=(height, width)))

    def sure(self, patch: Patch) -> float:
        """Confidence of the surest segment that has a pixel in common with a region; 1 without one."""
        return self._surest(patch.of_map(self.confidence))

    def sure_next_to(self, patch: Patch) -> float:
        """Likewise, in common or next to it."""
        window, mask = patch.around(1)
        return self._surest(self.confidence[window][ndimage.binary_dilation(mask, EIGHT)])

    def sure_within(self, patch: Patch, by: float) -> float:
        """Likewise, of the segments at most `by` away."""
        width, height = self.pixel
        window, mask = patch.around(min(math.ceil(by / min(width, height)), max(self.shape)))
        near = ndimage.distance_transform_edt(~mask, sampling=(height, width)) <= by
        return self._surest(self.confidence[window][near])

    @staticmethod
    def _surest(confidence: np.ndarray) -> float:
        most = float(confidence.max())
        return most if most >= 0.0 else 1.0


def _limit(condition: Feature, features: Mapping[str, float]) -> Verdict:
    if condition.feature not in features:  # a channel was not measured here
        return Verdict(False, 0.0, 0.0)
    value, std = features[condition.feature], features.get(f"{condition.feature}_std", 0.0)
    limit = condition.above if condition.above is not None else condition.below
    assert limit is not None
    excess = value - limit if condition.above is not None else limit - value
    if std > 0.0:
        degree = 0.5 * math.erfc(-excess / (std * math.sqrt(2.0)))
    else:
        degree = 1.0 if excess > 0.0 else 0.0
    return Verdict(excess > 0.0, degree, max(degree, 1.0 - degree))
