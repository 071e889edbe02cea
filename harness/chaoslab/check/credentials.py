"""What looks like a credential, whoever wrote it: replaced, whatever the contract says.

An agent logs its request headers, and the report is uploaded by a pipeline. Only forms that can
hardly be anything else are taken, so that plain text stays as it is; a secret that has no form of
its own is known by its value (`check/masking.py`). Keys of idempotency, references and canaries of
the lab are none: a person follows the story by them.

>>> print(without_credentials("Authorization: Bearer abc.def123 to https://ann:pw77@db.example/x"))
Authorization: Bearer ‹secret› to https://‹secret›@db.example/x
>>> without_credentials("Basic understanding of the api_key of s1-t1:refund")
'Basic understanding of the api_key of s1-t1:refund'
"""

from __future__ import annotations

import re
from typing import Final

SECRET: Final = "‹secret›"  # noqa: S105 - what stands in the place of one

# A name that says that what follows is secret; `token` alone is not, the lab's canaries are tokens.
_NAME: Final = (
    r"password|passwd|passphrase|pwd|secret|api[_-]?key|(?:access|private|signing|secret)[_-]?key"
    r"|(?:access|auth|refresh|bearer|api)[_-]?token|credential"
)
_PLAIN: Final = r"(?!(?:none|null|nil|true|false|undefined|required|missing|empty|unknown)\b)"
_START: Final = r"(?<![A-Za-z0-9])"
# Each form with the words of which one stands in it, so that most texts never meet a pattern.
# The first group of a form stays in front of what is replaced.
_FORMS: Final = tuple(
    (hints, re.compile(pattern))
    for hints, pattern in (
        (
            ("private key",),
            r"()-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----[\s\S]*?"
            r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)",
        ),
        # The value of an Authorization header is no word of a sentence.
        (
            ("bearer", "basic"),
            r"(\b(?i:bearer|basic)[ \t]+)"
            r"(?=[^\s\"',;]{0,400}[0-9=+/]|[^\s\"',;]{20}|[^\s\"',;]{1,19}[A-Z])"
            r"[A-Za-z0-9+/._~=-]{6,}",
        ),
        (
            ("eyj",),
            r"()(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?",
        ),
        (("sk-",), r"()(?<![A-Za-z0-9_-])sk-(?=[A-Za-z_-]{0,60}[0-9])[A-Za-z0-9_-]{8,}"),
        (("k_live_", "k_test_"), rf"(){_START}[rsp]k_(?:live|test)_[A-Za-z0-9]{{4,}}"),
        (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), rf"(){_START}gh[opsur]_[A-Za-z0-9]{{8,}}"),
        (
            ("github_pat_", "glpat-", "xox"),
            rf"(){_START}(?:github_pat_|glpat-|xox[abeoprs]-)[A-Za-z0-9_-]{{8,}}",
        ),
        (("akia", "asia"), rf"(){_START}A[KS]IA[A-Z0-9]{{12,}}"),
        (
            (
                *("pass", "pwd", "secret", "credential", "apikey", "accesskey", "privatekey"),
                *("signingkey", "_key", "-key", "accesstoken", "authtoken", "refreshtoken"),
                *("bearertoken", "apitoken", "_token", "-token"),
            ),
            rf"((?i:{_NAME})[A-Za-z0-9_]{{0,20}}\\?[\"']?\s{{0,3}}[:=]\s{{0,3}}\\?([\"'])?)"
            rf"(?i:{_PLAIN})(?!‹)(?(2)[^\"'\\\n]{{3,}}|[^\s\"'\\&,;)}}\]‹›]{{4,}})",
        ),
        (
            ("://",),
            r"((?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{0,30}://)"
            r"(?:[^\s/@:?#‹›]{0,200}:[^\s/@‹›]{1,400}|[^\s/@:?#‹›]{12,200})(?=@)",
        ),
        # The lab's own address: whoever has it could speak for the agent while it runs.
        (
            ("127.0.0.1:", "localhost:", "[::1]:"),
            r"((?:127\.0\.0\.1|localhost|\[::1\]):\d{1,5}/)r[0-9a-f]{16}(?![0-9a-f])",
        ),
    )
)
_SENSITIVE: Final = re.compile(rf"(?i)(?:.*[._-])?(?:{_NAME}|authorization|cookie)")


def without_credentials(text: str, /) -> str:
    """The text with each credential replaced by `‹secret›`; one without any as it is."""
    low = text.casefold()
    for hints, pattern in _FORMS:
        for hint in hints:
            if hint in low:
                text = pattern.sub(_replaced, text)
                break
    return text


def _replaced(found: re.Match[str]) -> str:
    return found.group(1) + SECRET


def names_a_secret(name: str, /) -> bool:
    """Whether a field or a variable of this name holds a credential.

    >>> [names_a_secret(n) for n in ("password", "OPENAI_API_KEY", "key", "token", "x-api-key")]
    [True, True, False, False, True]
    """
    return _SENSITIVE.fullmatch(name) is not None
