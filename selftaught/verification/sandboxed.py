"""Sandboxed: what verifiers that run a model's program have in common, which is what it may take."""

from typing import Annotated

from pydantic import Field, PositiveInt

from selftaught.blocks import Verifier
from selftaught.sandbox.protocol import KIB, MIB, Limits

WALL = 10
"""Seconds that may pass for each that a program may compute: others use the machine too."""


class Sandboxed(Verifier):
    """Runs programs in the sandbox, within `limits`."""

    timeout: Annotated[
        PositiveInt, Field(description="seconds of computing that a program may take, for all cases")
    ] = 2
    memory_mb: Annotated[int, Field(ge=64, description="MiB of memory that it may take, Python's included")] = 256
    output_kb: Annotated[PositiveInt, Field(description="KiB that it may print, and that its results may take")] = 64

    @property
    def limits(self) -> Limits:
        """What a program may take."""
        return Limits(
            cpu_s=self.timeout,
            wall_s=float(WALL * self.timeout),
            memory=self.memory_mb * MIB,
            output=self.output_kb * KIB,
        )
