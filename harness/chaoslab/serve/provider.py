"""A real model behind a provider's chat completions: one question out, one whole answer back.

It is asked only while a recording is made, at the address that a person has just typed, and is
the one thing beyond this machine that the lab ever contacts on its own account. So it is strict:
no redirect is followed, no proxy is taken from the environment, a key leaves the machine over TLS
alone, and no message, picture or file of the lab ever holds that key.

>>> Provider.at("http://127.0.0.1:8000/v1/", key="sk-secret").url
'http://127.0.0.1:8000/v1/chat/completions'
>>> "sk-secret" in repr(Provider.at("https://api.example.com/v1", key="sk-secret"))
False
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from chaoslab.core.errors import LabError, UsageError
from chaoslab.serve.floats import parsed
from chaoslab.serve.loopback import check_address, is_loopback
from chaoslab.serve.models.asking import completion
from chaoslab.serve.models.wire import Malformed, Object, args_of, encoded, string, text_of
from chaoslab.world.api import ModelReply, ToolCall

_PATH: Final = "/chat/completions"
_CONNECT_S, _ANSWER_S = 10, 120
_BYTES_MAX: Final = 16 << 20
_SAID_MAX: Final = 300
# A shorter key is no secret, and its letters may stand anywhere.
_KEY_LEAST: Final = 8
_NEXT: Final[Mapping[int, str]] = {
    401: "is the key the right one, and in the variable that --key-env names?",
    403: "is the key allowed to use this model?",
    404: "--provider is the address before /chat/completions; --model names a model",
    429: "wait, or look at the account's limits, then record again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """See the module. `model` empty: the name that the agent gives."""

    url: str
    key: str = field(default="", repr=False)
    model: str = ""

    @staticmethod
    def at(url: str, /, *, key: str = "", model: str = "") -> Provider:
        """The provider at an address, which ends before `/chat/completions`. UsageError where
        the address or the key cannot be used."""
        _check_url(url, key)
        if not all("!" <= sign <= "~" for sign in key):
            raise UsageError(
                "the provider's key has blanks or signs beyond ASCII in it",
                hint="look at how the variable was set",
            )
        base = url.rstrip("/").removesuffix(_PATH)
        return Provider(url=base + _PATH, key=key, model=model)

    async def complete(self, messages: Sequence[Object], tools: Sequence[str], /) -> ModelReply:
        """The answer to a transcript. LabError says what the provider did instead."""
        body = encoded(completion(messages, tools, model=self.model))
        connection = _connection(self.url)
        try:
            status, raw = await asyncio.to_thread(self._exchange, connection, body)
        except asyncio.CancelledError:
            # The thread waits for an answer that nobody wants any more.
            with suppress(OSError):
                if connection.sock is not None:
                    connection.sock.shutdown(socket.SHUT_RDWR)
            raise
        except (OSError, http.client.HTTPException) as error:
            how = str(error) or type(error).__name__
            raise self._error(
                f"cannot be asked: {how}", "is it running, at this address?"
            ) from None
        if status != 200:
            said = f"answered with {status}: {_short(self._masked(_said(raw)))}"
            raise self._error(said, _NEXT.get(status, "ask it by hand, then record again"))
        try:
            reply = reply_of(parsed(raw, where="its answer"))
        except (ValueError, UsageError) as error:
            words = f"gave an answer that is no chat completion: {error}"
            raise self._error(words, "is this the address of an OpenAI-compatible API?") from None
        if self._masked(repr(reply)) != repr(reply):
            raise self._error("put the key itself into an answer", "nothing of it was kept")
        return reply

    def _exchange(self, connection: http.client.HTTPConnection, body: bytes) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        try:
            connection.connect()
            connection.sock.settimeout(_ANSWER_S)
            connection.request("POST", _target(self.url), body, headers)
            answer = connection.getresponse()
            raw = answer.read(_BYTES_MAX + 1)
            if len(raw) > _BYTES_MAX:
                raise http.client.HTTPException(f"its answer is longer than {_BYTES_MAX} bytes")
            return answer.status, raw
        finally:
            connection.close()

    def _error(self, what: str, hint: str) -> LabError:
        return LabError(self._masked(f"the provider at {self.url} {what}"), hint=hint)

    def _masked(self, text: str) -> str:
        return text.replace(self.key, "[the key]") if len(self.key) >= _KEY_LEAST else text


def reply_of(answer: object, /) -> ModelReply:
    """A completion in the lab's words. UsageError where it is none.

    >>> said = {"role": "assistant", "content": "Refunded."}
    >>> reply_of({"choices": [{"message": said, "finish_reason": "stop"}]})
    ModelReply(text='Refunded.', tool_calls=(), finish='stop')
    """
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, Mapping) else None
    if not isinstance(message, Mapping) or not isinstance(first, Mapping):
        raise Malformed("choices[0].message is missing", allowed="an object")
    refusal = message.get("refusal")
    text = text_of(message.get("content"), "message.content")
    ended = first.get("finish_reason")
    calls = tuple(_call(c, n) for n, c in enumerate(message.get("tool_calls") or ()))
    if (isinstance(refusal, str) and refusal) or ended == "content_filter":
        return ModelReply(text=refusal if isinstance(refusal, str) else text, finish="refusal")
    finish = "tool-calls" if calls else "stop"
    if ended == "length":
        finish = "truncated"
    return ModelReply(text=text, tool_calls=calls, finish=finish)


def _call(call: Any, number: int) -> ToolCall:
    where = f"message.tool_calls[{number}]"
    made = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(made, Mapping):
        raise Malformed(f"{where}.function is missing", allowed="an object")
    place = f"{where}.function"
    args = args_of(string(made, "arguments", place))
    return ToolCall(id=string(call, "id", where), name=string(made, "name", place), args=args)


def _check_url(url: str, key: str) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        host, parts = "", urlsplit("")
    check_address(url, (host,))  # the person has named it; only its spelling is looked at
    if parts.query or parts.fragment:
        raise UsageError("the provider's address has a query", value=url, hint="leave it out")
    if key and parts.scheme == "http" and not is_loopback(host):
        raise UsageError(
            "the key would leave this machine unencrypted",
            value=url,
            allowed="https, or http on loopback",
        )


def _connection(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, parts.port, timeout=_CONNECT_S, context=context)
    return http.client.HTTPConnection(host, parts.port, timeout=_CONNECT_S)


def _target(url: str) -> str:
    return urlsplit(url).path


def _said(raw: bytes) -> str:
    """What an error says for itself."""
    text = raw.decode("utf-8", "replace")
    with suppress(ValueError):
        told = parsed(raw)
        error = told.get("error", told) if isinstance(told, dict) else told
        found = error.get("message") if isinstance(error, dict) else error
        text = found if isinstance(found, str) else text
    return " ".join(text.split()) or "nothing"


def _short(text: str) -> str:
    return text if len(text) <= _SAID_MAX else text[:_SAID_MAX] + " …"
