"""Options of the Bayesian agent."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_serializer

from ebl_autonomy.agents.base import AgentOptions
from ebl_autonomy.agents.bayesian import prior_mean

__all__ = ["BayesianOptions"]


class BayesianOptions(AgentOptions):
    """Options of `BayesianAgent`; import it from ``ebl_autonomy.agents``.

    Attributes
    ----------
    start : {"here", "random"}
        Begin at the present position (the variables' default values; mid-domain without a default), or at a random
        point.
    look_around : float
        Step of the probes around the start, as a share of the domain; 0 replaces the probes by random points in a
        growing box around the start.
    trust_region : bool
        Whether to search in a box around the best point instead of the whole domain.
    coordinates : dict
        Linear combinations of motors to search along; see `coordinates.Coordinates`.
    composite : dict of str to float
        Positive observables and their powers, whose product is proportional to the objective: for a beam's area,
        ``{"width_x": 1, "width_y": 1}``. Each observable has a model of its own, because it depends on fewer motors
        than the product.
    reference : dict of str to float
        For two objectives, the reference point of the hypervolume: the worst useful values, in the objectives' units.
        By default, it is inferred from the measurements.
    per_second : bool
        Whether to weigh the expected gain of a point against the seconds that it takes, if `travel` is known.
    travel : dict of str to dict
        Motion profile of each motor: the fields of `ebl_autonomy.space.AxisTravel`. A plan fills it in from its motors.
    measure_s : float
        Duration of a measurement after the motors have arrived, in seconds.
    drift : {"auto", "on", "off"}
        Whether the model includes drift. With "auto", the measurements decide.
    clock : str, optional
        Observable that holds the time, in any unit; by default, the number of the measurement is the time.
    hard : dict
        Hard limits, which no proposal may risk to violate, in the form of a VOCS's constraints, for example
        ``{"flux": ["GREATER_THAN", 1e4]}``. The first point must satisfy them.
    sigmas : float
        Least number of standard deviations between the prediction at a point and a hard limit.
    safe_step : float
        Step of the first probes under hard limits, as a share of the domain; the user vouches for their safety.
    reach : float
        Largest length scale of outcomes with hard limits, as a share of the domain: the distance over which a
        measurement supports the safety of other points.
    max_decision_s : float
        Seconds that a decision may wait for the inference of the model's hyper-parameters, from 50 results on. A longer
        inference runs on during the next measurements, and takes effect a few results later. The seconds are counted
        for a common processor, not measured, so that the same results lead to the same decisions on every machine.
    prior_mean : str or callable, optional
        Expected outcomes before the first measurement: an entry point of ``ebl_autonomy.prior_means``,
        ``"module:attribute"``, a callable or a torch module. It takes points, shape (n, d), the variables in the order
        of the VOCS and in their own units, and returns the objective, shape (n,), or all outcomes, shape (n, m).
    kernel : {"matern52", "rbf"}
        Kernel of the Gaussian process. Its functions are twice ("matern52") or infinitely often ("rbf")
        differentiable; "rbf" is more certain of its extrapolations.
    engine : {"auto", "numba", "botorch"}
        Implementation of the model and the acquisition function: numba (compiled, milliseconds) or botorch. "auto"
        selects numba wherever it supports the other options.
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
    max_decision_s: float = Field(default=0.05, gt=0.0)
    prior_mean: Any = None
    kernel: Literal["matern52", "rbf"] = "matern52"
    engine: Literal["auto", "numba", "botorch"] = "auto"

    @field_serializer("prior_mean", when_used="json")
    def _name(self, given: Any) -> str | None:
        return prior_mean.name_of(given)
