"""Cookies that httpbin sets, takes back and tells of."""

from typing import Any

from aioreq import Session
from tests.servers.endpoint import Endpoint


async def seen(session: Session, **options: Any) -> dict[str, str]:
    """The cookies that arrive with a request."""
    cookies: dict[str, str] = (await session.get("/cookies", **options)).json()["cookies"]
    return cookies


async def test_one_that_is_set_comes_back(session: Session):
    """A cookie that a redirect sets goes with the next hop, and with every later request of the session."""
    response = await session.get("/cookies/set/name/value")
    assert response.url.endswith("/cookies")
    assert response.json() == {"cookies": {"name": "value"}}
    assert response.history[0].cookies["name"] == "value"
    assert dict(session.cookies) == {"name": "value"}
    assert await seen(session) == {"name": "value"}


async def test_several_at_once(session: Session):
    """Each Set-Cookie header of an answer is a cookie, values with special characters included."""
    values = {"one": "1", "two": "a b", "three": 'q"q', "four": "ä"}
    assert (await session.get("/cookies/set", params=values)).json()["cookies"] == values
    assert await seen(session) == values


async def test_deletion(session: Session):
    """A cookie that the server takes back is gone, the others stay; the redirect has it no more."""
    await session.get("/cookies/set", params={"kept": "1", "gone": "2"})
    response = await session.get("/cookies/delete", params={"gone": ""})
    assert response.json()["cookies"] == {"kept": "1"}
    assert dict(session.cookies) == {"kept": "1"}


async def test_a_new_value(session: Session):
    """A cookie set again has the new value."""
    await session.get("/cookies/set/name/old")
    assert (await session.get("/cookies/set/name/new")).json()["cookies"] == {"name": "new"}


async def test_of_a_redirect_that_is_not_followed(session: Session):
    """Where redirects are not followed, their cookies are kept all the same."""
    response = await session.get("/cookies/set/name/value", allow_redirects=False)
    assert response.status_code == 302
    assert await seen(session) == {"name": "value"}


async def test_for_one_call(session: Session):
    """A call's own cookies go with that call, beside the session's and before one of the same name."""
    session.cookies["session"] = "s"
    session.cookies["both"] = "s"
    assert await seen(session, cookies={"call": "c", "both": "c"}) == {"session": "s", "call": "c", "both": "c"}
    assert await seen(session) == {"session": "s", "both": "s"}


async def test_sessions_share_none(session: Session, httpbin: Endpoint):
    """Another session knows nothing of them."""
    await session.get("/cookies/set/name/value")
    async with Session(base_url=httpbin.url()) as other:
        assert await seen(other) == {}


async def test_another_host_gets_none(session: Session, httpbin: Endpoint):
    """The same server under another name is another host: it gets no cookie, asked directly or by a redirect."""
    await session.get("/cookies/set/name/value")
    elsewhere = f"http://localhost:{httpbin.port}/cookies"
    direct = await session.get(elsewhere)
    led = await session.get("/redirect-to", params={"url": elsewhere})
    assert led.url == elsewhere
    assert [direct.json(), led.json()] == [{"cookies": {}}, {"cookies": {}}]
    assert await seen(session) == {"name": "value"}
