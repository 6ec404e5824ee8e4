"""What else can run the audio encoder's blocks: compiled by torch, or OpenVINO, an extra.

Patches, positions, projector and head stay as they are: the blocks are nearly all the arithmetic.
"""

import threading
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from m2d_clap.model.clap import Clap
from m2d_clap.model.config import Engine
from m2d_clap.model.errors import ClapError
from m2d_clap.model.vit import VisionTransformer

Blocks = Callable[[Tensor], Tensor]
"""What `VisionTransformer.transform` does, for any batch and number of tokens."""


class EngineError(ClapError):
    """The engine is not installed, or not for this device."""


def engine(clap: Clap, name: Engine, threads: int | None = None) -> Blocks | None:
    """For `clap.audio.backbone.engine`; None for torch as it is.

    The precision is `clap.precision`: the cosine of embeddings in bfloat16 to those in float32 is
    above 0.999. threads: of OpenVINO, None for all cores. Raises EngineError.
    """
    backbone = clap.audio.backbone
    if name == "compile":
        compiled: Blocks = torch.compile(backbone.transform, dynamic=True)
        return compiled
    if name == "openvino":
        if clap.device.type != "cpu":
            raise EngineError(f"the engine openvino is for CPUs, not for {clap.device.type}")
        return _on_openvino(backbone, clap.precision == "bfloat16", threads)
    return None


def _on_openvino(backbone: VisionTransformer, bfloat16: bool, threads: int | None) -> Blocks:
    try:
        import openvino
    except ImportError as error:
        raise EngineError(
            "the engine openvino is not installed: pip install 'm2d-clap[openvino]'"
        ) from error
    width = backbone.cls_token.shape[-1]
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # tracing is deprecated, and what OpenVINO reads best
        traced = openvino.convert_model(
            _Blocks(backbone).eval(),
            example_input=torch.zeros(2, 3, width),
            input=[([-1, -1, width], openvino.Type.f32)],
        )
    cores = threads or torch.get_num_threads()
    precision = "bf16" if bfloat16 else "f32"
    every = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": str(cores)}
    hints = {
        "together": {"PERFORMANCE_HINT": "LATENCY"},
        "apart": {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": str(cores)},
    }
    compiled = {
        name: openvino.Core().compile_model(traced, "CPU", {**every, **hint})
        for name, hint in hints.items()
        if name == "together" or cores > 1
    }
    requests = threading.local()  # one serves one thread

    def blocks(tokens: Tensor) -> Tensor:
        """On all cores; on one, beside others, where torch may use but one in this thread."""
        name = "apart" if torch.get_num_threads() == 1 and cores > 1 else "together"
        if not hasattr(requests, name):
            setattr(requests, name, compiled[name].create_infer_request())
        made = getattr(requests, name).infer([tokens.float().contiguous().numpy()])
        out: Tensor = torch.from_numpy(made[0])
        return out

    return blocks


class _Blocks(nn.Module):
    """`transform` as a module, which is what can be traced."""

    def __init__(self, backbone: VisionTransformer) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, tokens: Tensor) -> Tensor:
        return self.backbone.transform(tokens)
