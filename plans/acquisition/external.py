"""Reading back the frames that a flyer has written to an external file, so that an agent can use them."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from ebl_autonomy.errors import BadInputError

__all__ = ["default_reader"]


def default_reader(resource: Mapping[str, Any], start: int, stop: int) -> Any:
    """Read frames of the HDF5 dataset that a `stream_resource` document refers to.

    Parameters
    ----------
    resource : mapping
        The document: ``mimetype``, ``uri`` of a file on this machine, and the ``dataset`` in its parameters.
    start, stop : int
        First frame, and the frame after the last one.

    Returns
    -------
    array, shape (stop - start, ...)

    Raises
    ------
    BadInputError
        If the file is not HDF5 or not on this machine, or h5py is not installed.
    """
    location = urlsplit(resource["uri"])
    if resource.get("mimetype") != "application/x-hdf5" or location.scheme != "file":
        raise BadInputError(
            f"{resource['data_key']!r} is stored in {resource['uri']} ({resource.get('mimetype')}), which cannot be "
            "read back here: pass read_external= to FlyLine"
        )
    try:
        import h5py
    except ImportError as error:
        raise BadInputError(
            "reading back HDF5 files needs h5py: install it, or pass read_external= to FlyLine"
        ) from error
    with h5py.File(unquote(location.path), "r", swmr=True) as file:
        frames = file[resource["parameters"]["dataset"]]
        return frames[start:stop]
