"""In which precision a training multiplies its matrices: `auto` is bfloat16 where the device has it, else float32.

What `auto` comes to is decided here and nowhere else, for it decides numbers: it is part of a training's hash.
"""

from pathlib import Path
from typing import Literal

import torch

from pipeline.common import machine

Precision = Literal["float32", "bfloat16", "auto"]
"""What params.yaml may ask for."""
INSTRUCTIONS = ("amx_bf16", "avx512_bf16")
"""Of processors that multiply in bfloat16 faster than in float32; others do it several times slower."""


def resolved(asked, device):
    """float32 or bfloat16, as a `Precision` comes to on a torch device; None, of a model that asks for none, is None.

    A process that cannot see the GPU it asks about, such as the driver of a study on other hosts, takes it for one of
    those that have bfloat16.
    """
    if asked != "auto":
        return asked
    return "bfloat16" if _fast(device) else "float32"


def taken(asked, device, model):
    """As `resolved`, with a line that says what `auto` came to. model: its name, for that line."""
    found = resolved(asked, device)
    if asked == "auto":
        has = "has" if found == "bfloat16" else "has no"
        print(f"{model}: precision auto is {found}, for {machine.describe(device)} {has} fast bfloat16", flush=True)
    return found


def _fast(device):
    """Whether the device multiplies in bfloat16 by instructions of its own."""
    if device.type == "cuda":
        # Ampere, of 2020, is the first generation that does
        return not torch.cuda.is_available() or torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and torch.backends.mkldnn.is_available() and _has_instructions()


def _has_instructions(root="/"):
    """Whether this processor has any of `INSTRUCTIONS`. root: the folder below which the kernel's /proc is looked for,
    which is asked where PyTorch is too old to say."""
    if hasattr(torch.cpu, "get_capabilities"):
        return any(torch.cpu.get_capabilities().get(name, False) for name in INSTRUCTIONS)
    try:
        lines = (Path(root) / "proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not set(INSTRUCTIONS).isdisjoint(flags.split())
