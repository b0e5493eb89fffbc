"""What a queue server says of an item as it is added, by its own validation of the plans that it finds."""

from pathlib import Path
from typing import Any

import pytest

from ebl_autonomy.plans import adaptive_map, adaptive_spectrum, characterise, explore, optimize, roi_survey
from ebl_autonomy.sim_devices import SimBeamline, SimMicroprobe, SimSample

pytest.importorskip("bluesky_queueserver", reason="install the extra 'queueserver'")

import yaml
from bluesky_queueserver.manager import profile_ops

PERMISSIONS = Path(__file__).parents[2] / "examples" / "queueserver" / "user_group_permissions.yaml"
GROUP = "primary"
MOTORS = ["kbv_pitch", "kbv_height"]
AGENT = {
    "agent": "bayesian",
    "vocs": {"variables": {m: [-1, 1] for m in MOTORS}, "objectives": {"camera_spot_area": "MINIMIZE"}},
}


def knife(detectors: Any, point: Any) -> Any:
    yield from ()
    return {"width": 1.0}


class Worker:
    """The namespace of a worker, and what a manager knows of it."""

    def __init__(self) -> None:
        bl = SimBeamline(tier="A")
        self.space: dict[str, Any] = {
            "optimize": optimize,
            "explore": explore,
            "knife": knife,
            "bl": bl,
            "camera": bl.camera,
        }
        self.space.update({motor.name: motor for motor in bl.motors()})
        self._find()

    def _find(self) -> None:
        found = profile_ops.existing_plans_and_devices_from_nspace(nspace=self.space)
        plans, devices, self.plans, self.devices = found
        self.allowed = profile_ops.load_allowed_plans_and_devices(
            existing_plans=plans,
            existing_devices=devices,
            user_group_permissions=yaml.safe_load(PERMISSIONS.read_text()),
        )

    def item(self, arguments: Any, options: Any, name: str) -> dict[str, Any]:
        kwargs = {"max_points": 3, **options}
        return {"item_type": "plan", "name": name, "args": arguments, "kwargs": kwargs, "user_group": GROUP}

    def says(self, arguments: Any, name: str = "optimize", **options: Any) -> str:
        """Why the item is refused; empty if it is not."""
        item = self.item(arguments, options, name)
        plans, devices = (known[GROUP] for known in self.allowed)
        accepted, message = profile_ops.validate_plan(item, allowed_plans=plans, allowed_devices=devices)
        return "" if accepted else str(message)

    def prepared(self, arguments: Any, name: str = "optimize", **options: Any) -> tuple[Any, Any]:
        """The arguments as the worker passes them to the plan."""
        made = profile_ops.prepare_plan(
            self.item(arguments, options, name),
            plans_in_nspace=self.plans,
            devices_in_nspace=self.devices,
            allowed_plans=self.allowed[0],
            allowed_devices=self.allowed[1],
            nspace=self.space,
        )
        return made["args"], made["kwargs"]


@pytest.fixture(scope="module")
def worker() -> Worker:
    return Worker()


@pytest.mark.parametrize("name", ["optimize", "explore"])
def test_an_item_becomes_devices_and_leaves_json_alone(worker: Worker, name: str) -> None:
    # An agent, a clock and an outcome may be called like a device: only devices are replaced.
    agent = {"agent": "camera", "vocs": AGENT["vocs"], "options": {"clock": "camera"}}
    envelope = {"dose_key": "camera", "limits": {"kbv_pitch": [-1, None]}}
    arguments = [["camera"], MOTORS, agent]
    options = {"envelope": envelope, "measure": "knife", "derive": {"camera": "beam_width"}, "md": {"by": "camera"}}
    assert worker.says(arguments, name, **options) == ""
    (detectors, motors, given), kwargs = worker.prepared(arguments, name, **options)
    assert detectors == [worker.space["camera"]]
    assert motors == [worker.space[motor] for motor in MOTORS]
    assert given == agent
    assert kwargs == {"max_points": 3, **options, "measure": knife}


@pytest.mark.parametrize("name", ["optimize", "explore"])
@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        ([["camera"], ["kbv_pich"], AGENT], {}, ["motors.0", "'kbv_pitch'", "'kbv_pich'"]),
        ([["camera"], ["camera"], AGENT], {}, ["motors.0", "'kbv_pitch'"]),
        ([["camera", "camra"], MOTORS, AGENT], {}, ["detectors.1", "'camera'", "'camra'"]),
        (["camera", MOTORS, AGENT], {}, ["detectors"]),
        ([["camera"], MOTORS, [AGENT]], {}, ["agent"]),
        ([["camera"], MOTORS, AGENT], {"measure": "knive"}, ["measure", "'knife'", "'knive'"]),
        ([["camera"], MOTORS, AGENT], {"envelope": [["mx", 0, 1]]}, ["envelope"]),
        ([["camera"], MOTORS, AGENT], {"derive": {"width": 3}}, ["derive"]),
        ([["camera"], MOTORS, AGENT], {"max_points": "3"}, ["max_points"]),
        ([["camera"], MOTORS, AGENT], {"max_pionts": 3}, ["max_pionts"]),
    ],
)
def test_a_wrong_item_is_refused_as_it_is_added(
    worker: Worker, name: str, arguments: Any, options: Any, says: list[str]
) -> None:
    message = worker.says(arguments, name, **options)
    for text in says:
        assert text in message


def test_optimize_checks_what_explore_does_not_have(worker: Worker) -> None:
    arguments = [["camera"], MOTORS, AGENT]
    assert "'clok'" in worker.says(arguments, baseline=["clok"])
    assert "until" in worker.says(arguments, until=60)
    assert "prior" in worker.says(arguments, prior=[3])
    good = {"baseline": ["kbh_pitch"], "until": {"seconds": 60}, "prior": ["3f2a"], "move_timeout_s": 5}
    assert worker.says(arguments, **good) == ""


AXES = ["sample_x", "sample_y"]
SURVEY = {"channels": ["xrf_Fe"], "coarse_step": 1.0}
XANES = {"absorption": "xanes_mu", "references": {"a": [0.0, 1.0], "b": [1.0, 1.0]}, "reference_energies": [7100, 7150]}
SCANS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "adaptive_map": ([["xrf"], *AXES, "mapping"], {"max_points": 9, "flyers": ["line"], "dwell": "dwell"}),
    "roi_survey": ([["xrf"], *AXES], {**SURVEY, "flyers": ["line"], "dwell": "dwell"}),
    "adaptive_spectrum": ([["xanes"], "mono_energy", "energy"], {"max_points": 9}),
    "characterise": ([["xrf"], *AXES, "mono_energy"], {**SURVEY, **XANES, "flyers": ["line"], "dwell": "dwell"}),
}
"""An item of each plan of the microprobe."""


class Stage(Worker):
    """The same of a worker with a microprobe."""

    def __init__(self) -> None:
        super().__init__()
        probe = SimMicroprobe(SimSample.cells(0, shape=(8, 8)))
        plans = [adaptive_map, roi_survey, adaptive_spectrum, characterise]
        devices = [probe.x, probe.y, probe.energy, probe.dwell, *probe.detectors, probe.flyer]
        self.space = {**{one.__name__: one for one in plans}, **{one.name: one for one in devices}}
        self._find()

    def item(self, arguments: Any, options: Any, name: str) -> dict[str, Any]:
        return {"item_type": "plan", "name": name, "args": arguments, "kwargs": options, "user_group": GROUP}


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage()


@pytest.mark.parametrize("name", SCANS)
def test_an_item_of_a_scan_becomes_devices(stage: Stage, name: str) -> None:
    arguments, options = SCANS[name]
    assert stage.says(arguments, name, **options) == ""
    (detectors, *motors), kwargs = stage.prepared(arguments, name, **options)
    assert detectors == [stage.space[one] for one in arguments[0]]
    for given, told in zip(motors, arguments[1:], strict=True):
        assert given == stage.space.get(told, told)
    for key in {"dwell", "flyers"} & set(options):
        assert kwargs[key] == ([stage.space["line"]] if key == "flyers" else stage.space["dwell"])


@pytest.mark.parametrize(
    ("name", "place", "wrong"),
    [
        *((name, place, "stage_x") for name in ("adaptive_map", "roi_survey", "characterise") for place in (1, 2)),
        ("adaptive_map", 1, "xrf"),
        ("characterise", 3, "mono"),
        ("adaptive_spectrum", 1, "mono"),
        *((name, "dwell", "dwel") for name in ("adaptive_map", "roi_survey", "characterise")),
        *((name, "flyers", ["lines"]) for name in ("adaptive_map", "roi_survey", "characterise")),
        ("adaptive_map", "flyers", ["sample_x"]),
    ],
)
def test_a_wrong_device_of_a_scan_is_refused_as_it_is_added(stage: Stage, name: str, place: Any, wrong: Any) -> None:
    arguments, options = SCANS[name]
    if isinstance(place, int):
        arguments = [*arguments[:place], wrong, *arguments[place + 1 :]]
    else:
        options = {**options, place: wrong}
    message = stage.says(arguments, name, **options)
    assert repr(wrong[0] if isinstance(wrong, list) else wrong) in message
    assert "Input should be" in message


@pytest.mark.parametrize("name", [*SCANS, "optimize", "explore"])
def test_each_parameter_is_described_to_the_users_of_a_queue(worker: Worker, stage: Stage, name: str) -> None:
    plan = (stage if name in SCANS else worker).allowed[0][GROUP][name]
    assert plan["description"]
    for parameter in plan["parameters"]:
        told = parameter.get("description", "")
        assert told, parameter["name"]
        assert not told.startswith("As for"), parameter["name"]


def test_the_sizes_of_pixels_that_are_not_square_are_accepted(stage: Stage) -> None:
    for name in ("roi_survey", "characterise"):
        arguments, options = SCANS[name]
        assert stage.says(arguments, name, **{**options, "coarse_step": [1.0, 2.0], "fine_step": [0.5, 0.25]}) == ""
        assert "coarse_step" in stage.says(arguments, name, **{**options, "coarse_step": "1 um"})
