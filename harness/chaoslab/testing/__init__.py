"""The conformance kit: prove your own adapter, check or fault before you trust it.

A check that cannot fail, an adapter that follows the hash seed, or a fault that never strikes makes
everything green that it touches. Each function here tries one of them on purpose and says what it
saw; `require()` raises where something did not hold, so a proof is a test of one line:

    def test_my_agent():
        prove_adapter("my_agent.py:make_agent").require()

    def test_my_rule():
        prove_checker(my_rule, valid=[...], invalid=[...]).require()

    def test_my_fault():
        prove_fault(Fault(at="tools:keyed", phase="after-commit", kind="silence")).require()

>>> from chaoslab.check import CHECKS
>>> prove_checker(CHECKS[0]).holds
True
"""

from chaoslab.testing.adapter import prove_adapter
from chaoslab.testing.checker import prove_checker
from chaoslab.testing.fault import prove_fault
from chaoslab.testing.histories import Golden, golden, goldens
from chaoslab.testing.proof import NotProven, Proof, Step

__all__ = [
    "Golden",
    "NotProven",
    "Proof",
    "Step",
    "golden",
    "goldens",
    "prove_adapter",
    "prove_checker",
    "prove_fault",
]
