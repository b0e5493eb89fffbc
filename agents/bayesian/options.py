"""What can be asked of the Bayesian agent."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_serializer

from ebl_autonomy.agents.base import AgentOptions
from ebl_autonomy.agents.bayesian import prior_mean

__all__ = ["BayesianOptions"]


class BayesianOptions(AgentOptions):
    """Options of `BayesianAgent`; import it from ``ebl_autonomy.agents.bayesian``.

    Attributes
    ----------
    start : {"here", "random"}
        Begin where the beamline stands (the variables' default values; mid-domain for those that have none), or at
        a random point.
    look_around : float
        Step of the probes around the start, as a share of the domain; 0 leaves them out and takes random points in a
        box around the start, which grows.
    trust_region : bool
        Search in a box around the best point; otherwise in the whole domain.
    coordinates : dict
        Search along these linear combinations of motors: see `coordinates.Coordinates`.
    composite : dict of str to float
        Positive observables and their powers; the product of these is the objective, up to a constant: for a beam's
        area, ``{"width_x": 1, "width_y": 1}``. Each is modelled alone, and fewer motors matter to each than to the
        product.
    reference : dict of str to float
        For two objectives, the worst values that are still worth something, in the objectives' units. If it is not
        given, it follows from the measurements.
    per_second : bool
        Weigh what a point may gain by the seconds that it takes, if `travel` is known.
    travel : dict of str to dict
        How each motor moves: the fields of `ebl_autonomy.space.AxisTravel`. A plan fills it in from its motors.
    measure_s : float
        Seconds that a measurement takes once the motors have arrived.
    drift : {"auto", "on", "off"}
        Whether measurements grow old. With "auto", the measurements decide.
    clock : str, optional
        The observable that is the time, in any unit; without it measurements are counted.
    hard : dict
        Outcomes and limits that may not be risked, in the form of a VOCS's constraints, for example
        ``{"flux": ["GREATER_THAN", 1e4]}``. The start must keep them.
    sigmas : float
        How many standard deviations must lie between what is expected of a point and a hard limit.
    safe_step : float
        Step of the first probes under hard limits, as a share of the domain: only the user vouches for them.
    reach : float
        How far, as a share of the domain, a measurement vouches for hard limits: the longest length scale of their
        outcomes.
    prior_mean : str or callable, optional
        What is expected before anything is measured: an entry point of ``ebl_autonomy.prior_means``, or
        ``"module:attribute"``, or a callable or torch module. It takes points, shape (n, d), the VOCS's variables in
        its order and their own units, and gives the objective, shape (n,), or all outcomes, shape (n, m).
    kernel : {"matern52", "rbf"}
        How outcomes vary: twice differentiable, or without end. "rbf" trusts its own extrapolations more.
    engine : {"auto", "numba", "botorch"}
        What computes the model and its acquisition: compiled by numba, in milliseconds; or botorch. "auto" takes
        numba's for everything that it can do.
    """

    start: Literal["here", "random"] = "here"
    look_around: float = Field(default=0.12, ge=0.0, le=0.5)
    trust_region: bool = True
    coordinates: dict[str, dict[str, float]] = {}
    composite: dict[str, float] = {}
    reference: dict[str, float] = {}
    per_second: bool = True
    travel: dict[str, dict[str, float]] = {}
    measure_s: float = Field(default=1.0, gt=0.0)
    drift: Literal["auto", "on", "off"] = "auto"
    clock: str | None = None
    hard: dict[str, Any] = {}
    sigmas: float = Field(default=2.0, gt=0.0)
    safe_step: float = Field(default=0.02, gt=0.0, le=0.5)
    reach: float = Field(default=0.2, gt=0.0)
    prior_mean: Any = None
    kernel: Literal["matern52", "rbf"] = "matern52"
    engine: Literal["auto", "numba", "botorch"] = "auto"

    @field_serializer("prior_mean", when_used="json")
    def _name(self, given: Any) -> str | None:
        return prior_mean.name_of(given)
