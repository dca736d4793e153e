"""Positions that cannot be: the whole batch is refused, and the rider stays where they were."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from core.clock import wall_now
from core.ids import decode
from tests.api import documents as doc
from tests.api.city import City, codes


def fix(latitude: Any = 39.92, longitude: Any = 116.42, later: float = 0, **more: Any) -> dict[str, Any]:
    at = (wall_now() + timedelta(seconds=later)).isoformat()
    return {"latitude": latitude, "longitude": longitude, "recordedAt": at} | more


async def test_impossible_fixes(city: City) -> None:
    token, rider_id = await city.rider()
    where = "SELECT (latitude, longitude, located_at)::text FROM rider WHERE id = $1"
    rider = decode("Rider", rider_id)
    before, rows = await city.fetchval(where, rider), await city.rows()
    rejected: list[tuple[list[Any], str]] = [
        ([fix(later=3600)], "LOCATION_REJECTED"),
        ([fix(later=-13 * 3600)], "LOCATION_REJECTED"),
        ([fix(latitude=91)], "LOCATION_REJECTED"),
        ([fix(longitude=-180.5)], "LOCATION_REJECTED"),
        ([fix(latitude=1e300)], "LOCATION_REJECTED"),
        ([fix(), fix(later=3600)], "LOCATION_REJECTED"),
        ([fix(31.23, 121.47, later=1)], "LOCATION_REJECTED"),
        ([fix(accuracyMetres=-1)], "LOCATION_REJECTED"),
        ([fix(heading=361)], "LOCATION_REJECTED"),
        ([fix(speed=-0.1)], "LOCATION_REJECTED"),
        ([fix() for _ in range(101)], "INVALID_INPUT"),
        ([], "INVALID_INPUT"),
    ]
    for fixes, code in rejected:
        assert (await city.do(token, doc.REPORT, fixes=fixes))["code"] == code, fixes
    assert (await city.do(token, doc.REPORT, fixes=[fix(), fix(latitude=-91)]))["index"] == 1
    for bad in ("NaN", "Infinity", None, "39.9", True, [39.9]):
        assert codes(await city.graphql(token, doc.REPORT, {"fixes": [fix(latitude=bad)]})) == ["BAD_USER_INPUT"], bad
    for at in ("yesterday", "2026-02-30T00:00:00Z", "2026-03-01T00:00:00", 0, None):
        bad_time = {"latitude": 39.92, "longitude": 116.42, "recordedAt": at}
        assert codes(await city.graphql(token, doc.REPORT, {"fixes": [bad_time]})) == ["BAD_USER_INPUT"], at
    assert await city.fetchval(where, rider) == before
    assert await city.rows() == rows


async def test_nan_in_the_body_is_not_json(city: City) -> None:
    token, _ = await city.rider()
    body = '{"query": "{ clock { now } }", "variables": {"x": NaN}}'
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    async with city.http.post(f"{city.url}/graphql", data=body, headers=headers) as response:
        assert response.status == 400
        assert codes(await response.json()) == ["INVALID_JSON"]


async def test_good_fixes_count_once(city: City) -> None:
    """The counterpart: without it the tests above could pass because every fix is refused."""
    token, rider_id = await city.rider()
    await city.execute(
        "UPDATE rider SET located_at = $2 WHERE id = $1", decode("Rider", rider_id), wall_now() - timedelta(hours=1)
    )
    fixes = [fix(later=-n) for n in range(100)]
    assert await city.do(token, doc.REPORT, fixes=fixes) == {
        "__typename": "LocationReport",
        "accepted": 100,
        "ignored": 0,
    }
    assert await city.do(token, doc.REPORT, fixes=fixes) == {
        "__typename": "LocationReport",
        "accepted": 0,
        "ignored": 100,
    }
    offline, _ = await city.rider(online=False)
    assert (await city.do(offline, doc.REPORT, fixes=[fix()]))["code"] == "RIDER_OFFLINE"
