"""Where to compute and how precisely: bf16 autocast only where the hardware gains from it.

On a processor it does with AMX. With avx512_bf16 alone MiniLM took 2.3 times as long as in fp32 to encode and 1.4 times to train (Xeon,
one thread), and with neither about a hundred times, so the flags decide.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path


def pick_device(name: str = "auto") -> str:
    """`auto` becomes `cuda` where a GPU is there, else `cpu`; any other name is torch's own."""
    if name != "auto":
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@cache
def has_bf16(device: str) -> bool:
    """Whether bf16 is faster than fp32 on this device (`cpu` or `cuda[:n]`)."""
    if device.startswith("cuda"):
        import torch

        return bool(torch.cuda.is_bf16_supported())
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "amx_bf16" in cpuinfo.read_text()


def half_precision(device: str = "cpu") -> AbstractContextManager[object]:
    """Bf16 autocast on `device` where the hardware has it, otherwise nothing."""
    if has_bf16(device):
        import torch

        return torch.autocast(device_type=device.split(":")[0], dtype=torch.bfloat16)
    return nullcontext()
