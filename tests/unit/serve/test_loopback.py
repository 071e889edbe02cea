"""The lab stays on this machine, however an address is spelled."""

from __future__ import annotations

import pytest

from chaoslab.core.errors import UsageError
from chaoslab.serve.loopback import check_address, is_loopback

HERE = [
    "http://127.0.0.1",
    "http://127.0.0.1:8080/a?b=http://evil.example",
    "https://127.255.255.254/",
    "HTTP://LOCALHOST:1/",
    "http://127.1/",
    "http://127.0.1:8/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0X7F.1/",
    "http://[::1]:8080/x",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://127.0.0.1/@evil.example",
]

ELSEWHERE = [
    "http://evil.example",
    "http://10.0.0.1/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest",
    "http://0.0.0.0:80/",
    "http://0/",
    "http://[::]/",
    "http://128.0.0.1/",
    "http://126.255.255.255/",
    "http://2130706432.example/",
    "http://3232235777/",
    "http://4294967296/",
    "http://127.0.0.256/",
    "http://127.0.0.0.1/",
    "http://[::2]/",
    "http://[::ffff:10.0.0.1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://0177.0.0.1/",  # two readings
    "http://0127.0.0.1/",
    "http://127.0.0.01/",
    "http://localhost.evil.example/",
    "http://127.0.0.1.nip.io/",
    "http://localhost.localdomain/",
    "http://my.localhost/",
    "http://localhost-x/",
    "http://ip6-localhost/",
]

NO_READING = [
    "",
    "127.0.0.1:8080",
    "//127.0.0.1/",
    "http:///x",
    "http:127.0.0.1",
    "ftp://127.0.0.1/",
    "file:///etc/passwd",
    "unix:///run/docker.sock",
    "http://127.0.0.1@evil.example/",
    "http://127.0.0.1:80@evil.example/",
    "http://evil.example@127.0.0.1/",
    "http://@127.0.0.1/",
    "http://127.0.0.1\\@evil.example/",
    "http://127.0.0.1%2eevil.example/",
    "http://127.0.0.1%00.evil.example/",
    "http://127.0.0.1 .evil.example/",
    "http://127.0.0.1\t/",
    "\nhttp://127.0.0.1/",
    "http://１２７.0.0.1/",
    "http://loc\u00adalhost/",
    "http://ⓛocalhost/",
    "http://127。0。0。1/",
    "http://localhost./",
    "http://127.0.0.1./",
    "http://-localhost/",
    "http://[::1%25lo]/",
    "http://[::1/",
    "http://[127.0.0.1]/",
    "http://::1/",
    "http://127.0.0.1:0/",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:http/",
    "http://127.0.0.1,evil.example/",
]


@pytest.mark.parametrize("url", HERE)
def test_this_machine_however_spelled(url: str) -> None:
    check_address(url, ())


@pytest.mark.parametrize("url", ELSEWHERE)
def test_what_is_or_may_be_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="nothing beyond this machine"):
        check_address(url, ())


@pytest.mark.parametrize("url", NO_READING)
def test_what_two_readers_could_read_differently_is_refused_even_if_listed(url: str) -> None:
    listed = ("evil.example", "127.0.0.1", "localhost", "localhost.", "127.0.0.1.")
    with pytest.raises(UsageError, match="the address of a service"):
        check_address(url, listed)


def test_a_listed_host_is_reached_and_only_that() -> None:
    listed = ("Api.Example.com", "10.0.0.7", "[fd00::1]")
    for url in ("https://api.example.com/v1", "http://API.EXAMPLE.COM:81/", "http://10.0.0.7/"):
        check_address(url, listed)
    check_address("http://[fd00::1]:9/", listed)
    for url in (
        "https://api.example.com.evil.example/",
        "https://x.api.example.com/",
        "https://example.com/",
        "https://10.0.0.70/",
        "https://evil.example/?api.example.com",
        "https://evil.example/#@api.example.com",
    ):
        with pytest.raises(UsageError):
            check_address(url, listed)


def test_the_error_says_what_to_write() -> None:
    with pytest.raises(UsageError) as found:
        check_address("http://pay.example/x", ())
    assert found.value.exit_code == 2
    assert 'hosts = ["pay.example"]' in found.value.hint
    assert "'http://pay.example/x' (str)" in str(found.value)


@pytest.mark.parametrize("host", ["", ".", "1.", "0x", "a:b:c", "::1%lo", "127.0.0.1 x"])
def test_what_is_no_host_is_not_this_machine(host: str) -> None:
    assert not is_loopback(host)
