"""Where to compute and how precisely: bf16 autocast only where the hardware has it.

On processors without AMX or avx512_bf16, half precision is about a hundred times slower than fp32, so the flags decide.
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
    """Whether bf16 matrix products are done by hardware on this device (`cpu` or `cuda[:n]`)."""
    if device.startswith("cuda"):
        import torch

        return bool(torch.cuda.is_bf16_supported())
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    return "amx_bf16" in flags or "avx512_bf16" in flags


def half_precision(device: str = "cpu") -> AbstractContextManager[object]:
    """Bf16 autocast on `device` where the hardware has it, otherwise nothing."""
    if has_bf16(device):
        import torch

        return torch.autocast(device_type=device.split(":")[0], dtype=torch.bfloat16)
    return nullcontext()
