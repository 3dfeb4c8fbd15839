"""What an engine computes in where nothing is said: what its model is stored in, unless the processor cannot.

A processor without instructions for numbers of 16 bits takes them apart: with AVX2 alone, answers of the starter model
took 3.6 times as long in bfloat16 as in float32.
"""

from functools import cache
from pathlib import Path


def on_cpu(dtype: str) -> str:
    """The type to compute in on this machine's CPU: `dtype`, but float32 for `auto` where 16 bits are emulated."""
    return "float32" if dtype == "auto" and not computes_16_bits() else dtype


@cache
def computes_16_bits() -> bool:
    """Whether oneDNN, which multiplies for torch and for vLLM, has bfloat16 here: from AVX-512 on, or ARM's BF16.

    Read off the processor's flags, since steps that compute nothing do not load torch.
    """
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    flags = {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split()}
    return not flags.isdisjoint({"avx512bw", "bf16"})
