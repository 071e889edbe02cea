"""The one engine of this process, set up so that a run can be repeated and survives a trap.

Every setting below answers a hazard that was seen, so none of them is a matter of taste.
"""

from __future__ import annotations

from functools import lru_cache

from wasmtime import Config, Engine


@lru_cache(maxsize=1)
def engine() -> Engine:
    """The engine; made at first use, because importing the package should cost nothing."""
    config = Config()
    # Fuel is the only bound on a guest that is the same on every machine and every day.
    config.consume_fuel = True
    # Traps by signal end the whole process where faulthandler was enabled after the engine
    # was made, and pytest enables it.
    config.signals_based_traps = False
    # A build with unwinding throws real Wasm exceptions; said here rather than left to a default.
    config.wasm_exceptions = True
    # The guests use neither, but where they did, results would depend on the processor.
    config.cranelift_nan_canonicalization = True
    config.wasm_relaxed_simd_deterministic = True
    # A pool of compiler threads does not survive a fork, and these modules are small.
    config.parallel_compilation = False
    # With explicit bounds checks four gibibytes of address space per instance buy nothing, and
    # they make many instances fail under a limit on virtual memory.
    config.memory_reservation = 4 << 20
    config.memory_reservation_for_growth = 4 << 20
    config.memory_guard_size = 0
    return Engine(config)
