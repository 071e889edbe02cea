"""Requests to a server of Toxiproxy's interface, in stories; each begins on an empty server.

What the original answers to them is on record in `wire_stories.json`, beside this file, and both
servers are held to it. To record it anew from a server that runs:

    python -m tests.live.wire_stories http://127.0.0.1:8474
"""

from __future__ import annotations

import http.client
import json
import re
import sys
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

RECORD = Path(__file__).with_suffix(".json")

Step: TypeAlias = tuple[str, str, str]  # method, path, body

A = '{"name": "a", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"}'
OFF = '{"name": "a", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1", "enabled": false}'
A_ELSEWHERE = A.replace("127.0.0.1:1", "127.0.0.1:2")
B_OFF = OFF.replace('"a"', '"b"')
C = A.replace('"a"', '"c"')
T = "/proxies/a/toxics"
# {api} stands for the address of the interface itself, which is taken for certain.
TAKEN = '{"name": "b", "listen": "{api}", "upstream": "127.0.0.1:1"}'


def _toxics(*bodies: str) -> list[Step]:
    """A proxy, toxics that are added to it one after the other, and the list of them."""
    return [("POST", "/proxies", A), *[("POST", T, one) for one in bodies], ("GET", T, "")]


def _populate(*bodies: str) -> list[Step]:
    return [("POST", "/populate", one) for one in bodies]


STORIES: dict[str, list[Step]] = {
    "nothing there": [
        ("GET", "/proxies", ""),
        ("GET", "/proxies/a", ""),
        ("POST", "/proxies/a", "{}"),
        ("DELETE", "/proxies/a", ""),
        ("GET", T, ""),
        ("POST", T, '{"type": "latency"}'),
        ("GET", T + "/x", ""),
        ("POST", T + "/x", "{}"),
        ("DELETE", T + "/x", ""),
        ("POST", "/reset", ""),
    ],
    "ways that do not exist": [
        ("GET", "/", ""),
        ("GET", "/nope", ""),
        ("GET", "/metrics", ""),
        ("GET", "/proxies/", ""),
        ("GET", "//proxies", ""),
        ("GET", "/proxies/../version", ""),
        ("GET", "/proxies/a%2Fb", ""),
        ("GET", "/proxies/a/toxics/x/y", ""),
        ("PUT", "/proxies", ""),
        ("DELETE", "/proxies", ""),
        ("OPTIONS", "/proxies", ""),
        ("HEAD", "/proxies", ""),
        ("GET", "/reset", ""),
        ("GET", "/populate", ""),
        ("POST", "/version", ""),
        ("PUT", "/proxies/a", ""),
        ("DELETE", T, ""),
        ("PUT", T + "/x", ""),
    ],
    "a proxy's life": [
        ("POST", "/proxies", A),
        ("POST", "/proxies", A),
        ("GET", "/proxies", ""),
        ("GET", "/proxies/a", ""),
        ("GET", "/proxies/a?x=1", ""),
        ("POST", "/proxies/a", '{"enabled": false}'),
        ("POST", "/proxies/a", '{"enabled": false}'),
        ("POST", "/proxies/a", '{"name": "other", "enabled": true}'),
        ("POST", "/proxies/a", '{"upstream": "127.0.0.1:2"}'),
        ("POST", "/proxies/a", '{"listen": "127.0.0.1:0"}'),
        ("POST", "/proxies/a", '{"listen": "localhost:0", "enabled": null}'),
        ("POST", "/proxies/a", "{}"),
        ("POST", "/proxies/a", ""),
        ("POST", "/proxies/a", '{"enabled": "yes"}'),
        ("POST", "/proxies/a", '{"listen": 5}'),
        ("POST", "/proxies/a", '{"listen": "{api}"}'),
        ("GET", "/proxies/a", ""),
        ("POST", "/reset", ""),
        ("POST", "/proxies/a", '{"listen": "127.0.0.1:0", "enabled": true}'),
        ("DELETE", "/proxies/a", ""),
        ("GET", "/proxies", ""),
    ],
    "a proxy that is off": [
        ("POST", "/proxies", OFF),
        ("POST", "/reset", ""),
        ("GET", "/proxies/a", ""),
    ],
    "names": [
        ("POST", "/proxies", A.replace('"a"', '"with space"')),
        ("GET", "/proxies/with%20space", ""),
        ("POST", "/proxies", A.replace('"a"', '"<é&>"')),
        ("GET", "/proxies", ""),
        ("DELETE", "/proxies/%3C%C3%A9&%3E", ""),
        ("DELETE", "/proxies/with%20space", ""),
    ],
    "proxies that cannot be": [
        ("POST", "/proxies", ""),
        ("POST", "/proxies", "{"),
        ("POST", "/proxies", "null"),
        ("POST", "/proxies", "[]"),
        ("POST", "/proxies", '"a"'),
        ("POST", "/proxies", "{}"),
        ("POST", "/proxies", '{"upstream": "127.0.0.1:1"}'),
        ("POST", "/proxies", '{"name": "a"}'),
        ("POST", "/proxies", '{"name": "", "upstream": "127.0.0.1:1"}'),
        ("POST", "/proxies", '{"name": 1, "upstream": "127.0.0.1:1"}'),
        ("POST", "/proxies", A.replace("127.0.0.1:0", "nowhere")),
        ("POST", "/proxies", A.replace("127.0.0.1:0", "127.0.0.1:1:2")),
        ("POST", "/proxies", A.replace("127.0.0.1:0", "127.0.0.1:65536")),
        ("POST", "/proxies", A.replace("127.0.0.1:0", "127.0.0.1:port")),
        ("POST", "/proxies", TAKEN),
        ("GET", "/proxies", ""),
    ],
    "spelling": [
        ("POST", "/proxies", A.replace('"name"', '"NAME"').replace("listen", "Listen")),
        ("POST", "/proxies", A.replace('"a"', '"b"') + " and more"),
        ("POST", "/proxies", '{"x": [1, {"y": null}], ' + A.replace('"a"', '"c"')[1:]),
        ("POST", "/proxies", '{"name": "z", ' + A.replace('"a"', r'"d\u00e9"')[1:]),
    ],
    "toxics of each type": _toxics(
        '{"type": "latency", "attributes": {"latency": 5, "jitter": 2}}',
        '{"type": "bandwidth", "attributes": {"rate": 7}}',
        '{"type": "slow_close", "attributes": {"delay": 8}}',
        '{"type": "timeout", "attributes": {"timeout": 9}}',
        '{"type": "reset_peer", "attributes": {"timeout": 10}}',
        '{"type": "slicer", "attributes": {"average_size": 3, "size_variation": 1, "delay": 2}}',
        '{"type": "limit_data", "attributes": {"bytes": 11}}',
        '{"type": "noop"}',
    ),
    "both directions": [
        *_toxics(
            '{"type": "latency"}',
            '{"type": "latency", "stream": "upstream"}',
            '{"type": "latency", "stream": "UpStream"}',
            '{"name": "mine", "type": "timeout", "stream": "upstream", "toxicity": 0.25}',
            '{"type": "latency", "stream": "sideways"}',
            '{"type": "latency", "stream": ""}',
            '{"type": "latency", "stream": "downstream"}',
        ),
        ("GET", "/proxies/a", ""),
        ("GET", T + "/mine", ""),
        ("DELETE", T + "/mine", ""),
        ("DELETE", T + "/mine", ""),
        ("POST", "/reset", ""),
        ("GET", "/proxies", ""),
    ],
    "toxicities": _toxics(
        '{"type": "noop", "name": "1", "toxicity": 0}',
        '{"type": "noop", "name": "2", "toxicity": 1.0}',
        '{"type": "noop", "name": "3", "toxicity": 0.1}',
        '{"type": "noop", "name": "4", "toxicity": 0.123456789}',
        '{"type": "noop", "name": "5", "toxicity": 1e-9}',
        '{"type": "noop", "name": "6", "toxicity": 2}',
        '{"type": "noop", "name": "7", "toxicity": -0.5}',
        '{"type": "noop", "name": "8", "toxicity": null}',
        '{"type": "noop", "name": "9", "toxicity": 1e25}',
        '{"type": "noop", "name": "10", "toxicity": 1e39}',
        '{"type": "noop", "name": "11", "toxicity": "all"}',
    ),
    "toxics that cannot be": _toxics(
        "",
        "{}",
        "null",
        "[]",
        "7",
        '{"type": "sand"}',
        '{"type": 5}',
        '{"type": "latency", "name": 5}',
        '{"type": "latency", "attributes": 7}',
        '{"type": "latency", "attributes": [1]}',
        '{"type": "latency", "attributes": "x"}',
        '{"type": "latency", "attributes": {"latency": "x"}}',
        '{"type": "latency", "attributes": {"latency": 1.5}}',
        '{"type": "latency", "attributes": {"latency": true}}',
        '{"type": "latency", "attributes": {"jitter": {}}}',
        '{"type": "latency", "attributes": {"jitter": []}}',
        '{"type": "latency", "attributes": {"latency": 9223372036854775808}}',
        '{"type": "slicer", "attributes": {"average_size": 1e2}}',
        '{"type": "bandwidth", "attributes": {"rate": "fast"}}',
        '{"type": "limit_data", "attributes": {"bytes": 0.5}}',
        '{"type": "reset_peer", "attributes": {"timeout": "x"}}',
        '{"type": "slow_close", "attributes": {"delay": "x"}}',
        '{"type": "timeout", "attributes": {"timeout": "x"}}',
    ),
    "attributes that are odd": _toxics(
        '{"type": "latency", "attributes": null}',
        '{"type": "slicer", "attributes": {"Average_Size": 3, "zzz": 4}}',
        '{"type": "limit_data", "attributes": {"bytes": 9223372036854775807}}',
        '{"type": "noop", "attributes": {"latency": "x"}}',
        '{"TYPE": "bandwidth", "Attributes": {"RATE": 2}}',
        '{"type": "timeout", "attributes": {"timeout": null}}',
    ),
    "changes of toxics": [
        ("POST", "/proxies", A),
        ("POST", T, '{"type": "latency", "attributes": {"latency": 5, "jitter": 2}}'),
        ("POST", T + "/latency_downstream", '{"attributes": {"latency": 6}}'),
        ("POST", T + "/latency_downstream", '{"toxicity": 0.5}'),
        ("POST", T + "/latency_downstream", '{"name": "x", "type": "noop", "stream": "upstream"}'),
        ("POST", T + "/latency_downstream", '{"attributes": null, "toxicity": null}'),
        ("POST", T + "/latency_downstream", '{"attributes": {"latency": "x"}}'),
        ("POST", T + "/latency_downstream", '{"toxicity": "x"}'),
        ("POST", T + "/latency_downstream", ""),
        ("POST", T + "/latency_upstream", "{}"),
        ("GET", T + "/latency_downstream", ""),
    ],
    "populate": [
        *_populate(
            "[]",
            f"[{A}]",
            f"[{B_OFF}]",
            f"[{B_OFF}]",
            f"[{A_ELSEWHERE}]",
            "null",
        ),
        ("GET", "/proxies", ""),
    ],
    "populate with what cannot be": [
        *_populate(
            "",
            "{}",
            "7",
            "[7]",
            '[{"name": "a"}]',
            f'[{A}, {{"upstream": "127.0.0.1:1"}}]',
            '[{"name": 5}]',
            '[{"name": "a", "upstream": "127.0.0.1:1", "enabled": "x"}]',
            f"[{A}, {TAKEN}, {C}]",
        ),
        ("GET", "/proxies", ""),
    ],
    "rubbish": [
        ("POST", "/populate", text)
        for text in (
            "x", "tru", "trux", "nul!", "[1 2]", "[1,]", "[", '{"a":1,}', "{1:2}", '{"a" 1}',
            '{"a":1 "b":2}', '{"a"', '"a', '"a\nb"', '"\\q"', '"\\u12x4"', "[01]", "[-]", "[1.]",
            "[1ex]", "[.5]", "[+1]", "['a']", '["a""b"]', "\x00",
        )
    ],
}  # fmt: skip


def masked(text: str) -> str:
    """An answer without what is chance (ports) and without a field that the original leaks."""
    text = re.sub(r'(127\.0\.0\.1:)[1-9]\d{3,4}(?="|: bind)', r"\1PORT", text)
    return text.replace('"Logger":{},', "")


def ask(api: str, step: Step, *, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Status and body (of a redirect the address) of one request on a connection of its own."""
    method, path, body = step
    connection = http.client.HTTPConnection(api, timeout=20)
    try:
        raw = body.replace("{api}", api).encode() if body else None
        connection.request(method, path, raw, headers or {})
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, text or answer.headers.get("Location", "")
    finally:
        connection.close()


def empty(api: str) -> None:
    """Deletes all proxies."""
    for name in json.loads(ask(api, ("GET", "/proxies", ""))[1]):
        assert ask(api, ("DELETE", f"/proxies/{quote(name)}", ""))[0] == 204


def told(api: str, story: str) -> list[list[Any]]:
    """What a server answers to a story."""
    empty(api)
    found = []
    for step in STORIES[story]:
        status, text = ask(api, step)
        found.append([*step, status, masked(text)])
    return found


def main(url: str) -> None:
    """Records all stories."""
    api = url.removeprefix("http://").rstrip("/")
    record = {story: told(api, story) for story in STORIES}
    lines = [
        f"{json.dumps(story)}: [\n"
        + ",\n".join(f"  {json.dumps(step, ensure_ascii=False)}" for step in steps)
        + "\n]"
        for story, steps in record.items()
    ]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    sys.stdout.write(f"{sum(map(len, record.values()))} exchanges\n")


if __name__ == "__main__":
    main(sys.argv[1])
