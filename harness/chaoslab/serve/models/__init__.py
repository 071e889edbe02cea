"""The model as the vendors' own clients ask it: chat completions, Responses, and messages.

One module for each format (`chat`, `responses`, `messages`) turns a request into the lab's
messages and the model's reply into the answer that the vendor documents, whole or as a stream of
events. They are pure, so that what an agent sees can be read and tested without a server. What
they share stands in `wire` and `transcript`; `handler` joins them to the lab.

>>> from chaoslab.serve.models import chat, messages, responses
>>> said = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
>>> chat.asked(said).messages == messages.asked(said).messages
True
"""

from __future__ import annotations

from chaoslab.serve.models.handler import handle

__all__ = ["handle"]
