"""Where the encoders run."""

from typing import Literal

from m2d_clap.service.errors import ServiceError


class NoGpuError(ServiceError):
    """CUDA was asked for, and this process sees no GPU."""


def device(chosen: str) -> Literal["cpu", "cuda"]:
    """auto | cpu | cuda → one that is there. Raises NoGpuError."""
    if chosen == "cpu":
        return "cpu"
    import torch  # the server has no other need of it

    if torch.cuda.is_available():
        return "cuda"
    if chosen == "auto":
        return "cpu"
    build = "" if torch.version.cuda else "; this torch is a CPU build"
    raise NoGpuError(
        f"no CUDA GPU is visible here{build}: in a container give --gpus all (NVIDIA Container "
        "Toolkit) and use the cuda image, or choose --device cpu (M2D_CLAP_DEVICE=cpu)"
    )
