"""Addresses, and who may listen where."""

from __future__ import annotations

import asyncio

import pytest

from chaoslab.core.errors import UsageError
from chaoslab.links.api import Api, Request
from chaoslab.links.client import address_of
from chaoslab.links.model import Refused
from chaoslab.links.server import Proxies, listening, spelled, split_address
from chaoslab.links.servers import stand


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        (":0", ("", 0)),
        ("[::1]:7", ("::1", 7)),
        ("x:", ("x", 0)),
    ],
)
def test_addresses(address: str, found: tuple[str, int]) -> None:
    assert split_address(address) == found


@pytest.mark.parametrize("address", ["", "x", "[::1]", "::1:7", "x:99999", "x:-1", "x:http", "x:²"])
def test_no_addresses(address: str) -> None:
    with pytest.raises(ValueError, match=r"address|lookup"):
        split_address(address)


@pytest.mark.parametrize("address", ["", ":0", "localhost:0", "127.0.0.1:0", "0.0.0.0:0", "[::]:0"])
def test_who_listens_anywhere_listens_on_loopback(address: str) -> None:
    with listening(address) as sock:
        host, port = sock.getsockname()[:2]
        assert host == "127.0.0.1" and port > 0
        with pytest.raises(Refused, match=f"listen tcp {spelled((host, port))}: bind: .* in use"):
            listening(f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    "address", ["192.0.2.1:0", "8.8.8.8:0", "nosuch.invalid:0", "[2001:db8::1]:0"]
)
def test_nobody_listens_elsewhere(address: str) -> None:
    with pytest.raises(Refused, match=r"loopback|no such host") as caught:
        listening(address)
    assert caught.value.status == 500


def test_draws_are_a_function_of_the_seed() -> None:
    async def struck(seed: int) -> list[bool]:
        proxies = Proxies(seed=seed)
        api = Api(proxies)
        proxies.create('{"name": "a", "listen": ":0", "upstream": "127.0.0.1:1"}')
        toxic = '{"type": "noop", "toxicity": 0.5}'
        path = "/proxies/a/toxics"
        assert api.answer(Request(method="POST", path=path, body=toxic)).status == 200
        proxy = proxies.get("a")
        found = [proxy.draw(number, "noop_downstream").random() < 0.5 for number in range(64)]
        await proxies.close()
        return found

    first, again, other = (asyncio.run(struck(seed)) for seed in (1, 1, 2))
    assert first == again != other and 10 < sum(first) < 54


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1:1", "http://127.0.0.1", "x:y", "http://x:1/y", ""]
)
def test_no_addresses_of_a_server(url: str) -> None:
    with pytest.raises(UsageError):
        address_of(url)


@pytest.mark.parametrize("how", ["", "real", "https://127.0.0.1:1"])
def test_no_such_server(how: str) -> None:
    with pytest.raises(UsageError, match="embedded, original"):
        stand(how)
