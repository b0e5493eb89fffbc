"""Addresses of Tiled servers. A key that stands in one is taken out, so that no message can show it."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, quote, unquote, urlsplit

import httpx

from ebl_autonomy.errors import BadInputError

__all__ = ["browser_address", "is_alive", "split_key"]

_ADDRESS = re.compile(r"(?P<scheme>[^/?#]*://)?(?:(?P<user>[^/?#]*)@)?(?P<rest>[^?#]*)(?:\?(?P<query>[^#]*))?")


def split_key(uri: str, api_key: str | None = None) -> tuple[str, str]:
    """An address without its key, and the key.

    Parameters
    ----------
    uri : str
        The key may stand in the query (``http://host?api_key=…``) or before the host (``http://key@host``). Whatever
        else stands there is dropped: a Tiled address has no other parts.
    api_key : str, optional
        A key that was given apart from the address.

    Returns
    -------
    uri, api_key : str
        The key is empty if there is none.

    Raises
    ------
    BadInputError
        If the address and `api_key` hold different keys.
    """
    parts = _ADDRESS.match(uri.strip())
    assert parts is not None  # every part is optional
    found = parse_qs(parts["query"] or "").get("api_key", [])
    if parts["user"]:
        found.append(unquote(parts["user"].rpartition(":")[2]))
    clean = ((parts["scheme"] or "") + parts["rest"]).rstrip("/")
    keys = set(filter(None, [*found, api_key]))
    if len(keys) > 1:
        raise BadInputError(f"the address {clean} was given with {len(keys)} different keys: give one, as api_key=")
    return clean, keys.pop() if keys else ""


def is_alive(uri: str, timeout_s: float = 2.0) -> bool:
    """Whether a Tiled server answers at `uri`, which may be the address of a node in its tree."""
    # A facility's runs are rarely at the root: https://host/api/v1/metadata/beamline/raw
    try:
        parts = urlsplit(uri)
        root = parts._replace(path=parts.path.split("/api/v1")[0].rstrip("/") + "/healthz", query="", fragment="")
        return httpx.get(root.geturl(), timeout=timeout_s, trust_env=False).status_code == 200
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):  # an invalid address has no server
        return False


def browser_address(uri: str, api_key: str = "") -> str:
    """The address of Tiled's page for web browsers. It holds the key, which the browser then keeps as a cookie."""
    parts = urlsplit(uri)
    root, _, node = parts.path.partition("/api/v1")
    node = node.strip("/").removeprefix("metadata").strip("/")
    page = f"{root.rstrip('/')}/ui/browse/{node}" if node else f"{root.rstrip('/')}/ui/"
    return parts._replace(path=page, query=f"api_key={quote(api_key)}" if api_key else "", fragment="").geturl()
