"""Lists that the service gives page by page."""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from kubemint.client.connection import ServiceConnection
from kubemint.errors import ServiceUnavailable

PAGE: Final = 100


def walk(connection: ServiceConnection, path: str, query: Mapping[str, str], limit: int | None) -> Iterator[Any]:
    """Give the items of a list, at most `limit`, in the service's order; what they are is not looked at.

    Raises:
        ServiceRefused, ServiceUnavailable: as `ServiceConnection.get` does; what it gives is no list.
    """
    asked, left = dict(query), limit
    while left is None or left > 0:
        wanted = PAGE if left is None else min(left, PAGE)
        page = connection.get(f"{path}?" + urlencode(asked | {"limit": str(wanted)}))
        items = page.get("items")
        if not isinstance(items, list):
            raise ServiceUnavailable("the service's answer holds no list; is it kubemint?")
        yield from items[:wanted]
        left = None if left is None else left - len(items)
        if not items or not isinstance(page.get("nextCursor"), str):
            return
        asked["cursor"] = page["nextCursor"]
