"""An EPICS areaDetector at the simulated beamline: its camera, statistics and HDF5 plugins, for ophyd's own classes.

``python area_detector.py`` serves the beamline's records and, beside them, the detector ``EBL:AD:``, on a free port of
loopback, until its standard input is closed. Any other PV of the detector exists and holds what is put into it: ophyd
reads a hundred of them.
"""

import asyncio
import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ebl_autonomy.sim_devices.ioc import _configure_caproto, ca_environment, free_port

PREFIX = "EBL:AD:"
ENUMS = {
    "ImageMode": ["Single", "Multiple", "Continuous"],
    "TriggerMode": ["Internal", "External"],
    "FileWriteMode": ["Single", "Capture", "Stream"],
    "DataType": ["Int8", "UInt8", "Int16", "UInt16"],
    "Compression": ["None", "zlib"],
    **{name: ["Disable", "Enable"] for name in ("EnableCallbacks", "ArrayCallbacks")},
    **{name: ["No", "Yes"] for name in ("BlockingCallbacks", "AutoIncrement", "AutoSave", "LazyOpen")},
}
TEXTS = ("FilePath", "FileName", "FileTemplate", "FullFileName")
PLUGINS = {"Stats1:": "NDPluginStats", "HDF1:": "NDFileHDF5", "cam1:": "camera"}


@contextlib.contextmanager
def area_detector() -> Iterator[None]:
    """Run the IOC in a process of its own, and put its address into this process's environment."""
    port = free_port()
    env = {**os.environ, **ca_environment(port)}
    process = subprocess.Popen(
        [sys.executable, __file__, str(port)], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        answered, _, _ = select.select([process.stdout], [], [], 60.0)
        assert answered, "the areaDetector did not start within 60 s"
        assert process.stdout.readline(), "the areaDetector ended: see its output above"
        os.environ.update(ca_environment(port))
        yield
    finally:
        process.stdin.close()
        process.wait(100)
        process.stdout.close()


def main(port: int) -> None:
    _configure_caproto(port)
    asyncio.run(serve(port))


async def serve(port: int) -> None:
    import caproto as ca  # reads its environment as it is imported

    from ebl_autonomy.sim_devices import SimBeamline
    from ebl_autonomy.sim_devices.ioc_records import Database
    from ebl_autonomy.sim_devices.ioc_server import LoopbackServer

    beamline = SimBeamline(seed=0, tier="B", speed=2000.0)
    database = Database(beamline, "EBL:")
    await database.prepare()

    class OnPut(ca.ChannelInteger):
        """A button: what is put is passed on."""

        def __init__(self, act: Any) -> None:
            super().__init__(value=0)
            self._act = act

        async def verify_value(self, value: Any) -> Any:
            number = int(np.ravel(value)[0])
            await self._act(number)
            return value

    class Records(dict[str, Any]):
        """All PVs: of the beamline, and whatever is asked of the detector. A readback is its setpoint."""

        def __contains__(self, name: object) -> bool:
            return super().__contains__(name) or str(name).startswith(PREFIX)

        def __missing__(self, name: str) -> Any:
            if not name.startswith(PREFIX):
                raise KeyError(name)
            plain = name.removesuffix("_RBV")
            if plain != name:
                self[name] = self[plain]
                return self[name]
            self[name] = self.made(name.removeprefix(PREFIX))
            return self[name]

        def made(self, name: str) -> Any:
            plugin, _, field = name.rpartition(":")
            if field in ENUMS:
                value = 3 if field == "DataType" else 0
                return ca.ChannelEnum(value=value, enum_strings=ENUMS[field])
            if field in TEXTS:
                return ca.ChannelByte(value=[0] * 256, max_length=256)
            if field == "PluginType":
                return ca.ChannelString(value=PLUGINS[plugin + ":"])
            if field in ("PortName", "NDArrayPort", "Manufacturer", "Model"):
                return ca.ChannelString(value="cam1" if field == "NDArrayPort" else plugin)
            if field.startswith(("ArraySize", "Size")):
                return ca.ChannelInteger(value=0 if field.endswith("Z") else beamline.camera.pixels)
            if field in ("FilePathExists", "NumImages", "NumExposures"):
                return ca.ChannelInteger(value=1)
            if field in ("FileNumber", "NumCapture", "ArrayCounter", "NDimensions", "CreateDirectory"):
                return ca.ChannelInteger(value=0)
            return ca.ChannelDouble(value=0.0)

    records = Records(database.pvdb)

    def text(name: str) -> str:
        value = records[PREFIX + name].value
        return str(value if isinstance(value, str) else bytes(value).split(b"\0")[0].decode())

    class Plugins:
        file: h5py.File | None = None
        exposures = 0

        async def capture(self, start: int) -> None:
            if self.file is not None:
                self.file.close()
                self.file = None
            if start:
                number = records[PREFIX + "HDF1:FileNumber"]
                path = text("HDF1:FileTemplate") % (text("HDF1:FilePath"), text("HDF1:FileName"), number.value)
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                self.file = h5py.File(path, "w", libver="latest")
                size = beamline.camera.pixels
                self.file.create_dataset(
                    "entry/data/data", (0, size, size), "u2", maxshape=(None, size, size), chunks=(1, size, size)
                )
                self.file.swmr_mode = True
                await number.write(number.value + 1)

        async def acquire(self, start: int) -> None:
            if start:
                tasks.append(asyncio.get_running_loop().create_task(self.expose()))

        async def expose(self) -> None:
            # ophyd's SingleTrigger returns None where an exposure ends before `trigger` does.
            await asyncio.sleep(0.2)
            counts = await asyncio.to_thread(beamline.camera.snapshot)
            self.exposures += 1
            # A pedestal that grows by two counts a frame: no two frames have the same mean, whatever their noise.
            frame = np.minimum(counts.astype(int) + 2 * self.exposures, 65535).astype("u2")
            if self.file is not None:
                images = self.file["entry/data/data"]
                images.resize(len(images) + 1, axis=0)
                images[-1] = frame
                images.flush()
            signal = counts.astype(float) - beamline.camera.dark
            for name, value in {
                "Total": signal.sum(), "MeanValue": frame.mean(), "MaxValue": float(counts.max()),
                "SigmaX": beamline.camera.read()["camera_fwhm_x"]["value"] / 2.35,
                "SigmaY": beamline.camera.read()["camera_fwhm_y"]["value"] / 2.35,
            }.items():  # fmt: skip
                await records[f"{PREFIX}Stats1:{name}"].write(float(value))
            await records[PREFIX + "cam1:Acquire"].write(0)

    tasks: list[asyncio.Task[None]] = []
    plugins = Plugins()
    records[PREFIX + "cam1:Acquire"] = OnPut(plugins.acquire)
    records[PREFIX + "HDF1:Capture"] = OnPut(plugins.capture)

    def announce(_: int) -> None:
        sys.stdout.write("ready\n")
        sys.stdout.flush()

    serving = asyncio.get_running_loop().create_task(LoopbackServer(records, port, announce).serve())
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


if __name__ == "__main__":
    main(int(sys.argv[1]))
