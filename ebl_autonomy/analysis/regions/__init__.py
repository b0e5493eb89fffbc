"""Regions of interest: from a coarse map of several channels to a ranked list of fine scans."""

from __future__ import annotations

from ebl_autonomy.analysis.regions.checks import check_margin, check_names
from ebl_autonomy.analysis.regions.features import features_of
from ebl_autonomy.analysis.regions.finding import feature_table, find_regions
from ebl_autonomy.analysis.regions.maps import Maps, are_counts
from ebl_autonomy.analysis.regions.options import Limits, Phases, Rank, Region, RegionOptions, Regions
from ebl_autonomy.analysis.regions.phases import (
    dominant_phase,
    marker_ratios,
    minority_phases,
    phase_maps,
    phase_segments,
)
from ebl_autonomy.analysis.regions.rules import AllOf, AnyOf, Feature, Not, Relation, Rule, RuleError
from ebl_autonomy.analysis.regions.segmentation import Segment, Segmentation, segment
from ebl_autonomy.lazy import public_dir

__all__ = [
    "AllOf",
    "AnyOf",
    "Feature",
    "Limits",
    "Maps",
    "Not",
    "Phases",
    "Rank",
    "Region",
    "RegionOptions",
    "Regions",
    "Relation",
    "Rule",
    "RuleError",
    "Segment",
    "Segmentation",
    "are_counts",
    "check_margin",
    "check_names",
    "dominant_phase",
    "feature_table",
    "features_of",
    "find_regions",
    "marker_ratios",
    "minority_phases",
    "phase_maps",
    "phase_segments",
    "segment",
]

__dir__ = public_dir(__name__)
