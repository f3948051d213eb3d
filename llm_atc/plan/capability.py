"""What a chip can compute: dtypes and quantizations by compute capability, as vLLM 0.32.0 checks them.

Sources: `get_min_capability` of each file in vllm/model_executor/layers/quantization, `supported_dtypes` in
vllm/platforms/cuda.py and `_resolve_auto_dtype` in vllm/config/model.py. None of it was tried here on a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping

from llm_atc.plan.accelerators import Chip
from llm_atc.plan.architecture import Architecture, Dtype

AMPERE = (8, 0)
ADA = (8, 9)
BLACKWELL = (10, 0)
# --quantization fp8 quantizes 16-bit weights as they are loaded, from Turing on (fp8.py); FlashInfer, which
# alone takes an FP8 KV cache on older chips than Ada, begins there too (v1/attention/backends).
FP8_LOWEST = (7, 5)
# The lowest compute capability for each quantization method that a checkpoint may name.
_LOWEST: Mapping[str, tuple[int, int]] = {
    "awq": (7, 5),
    "gptq": (6, 0),
    "compressed-tensors": (7, 0),
    "bitsandbytes": (7, 0),
    "moe-wna16": (7, 0),
    "fp8": (7, 5),
    "modelopt-fp4": (7, 5),
    "torchao": (7, 5),
    "modelopt": (8, 0),
    "mxfp4": (8, 0),
    "experts-int8": (8, 0),
    "fbgemm-fp8": (8, 0),
    "fp-quant": (10, 0),
}
_EIGHT_BITS = frozenset({"fp8", "fbgemm-fp8", "modelopt"})
_FOUR_BITS = frozenset({"modelopt-fp4", "mxfp4"})


def computes_in(model: Architecture, chip: Chip, asked: Dtype | None) -> Dtype:
    """The dtype that vLLM computes in on this chip, with --dtype or without.

    Without it, float32 checkpoints are computed in 16 bits, and bfloat16 ones in float16 on chips without
    bfloat16; models that do not bear float16 then take float32.
    """
    if asked is not None:
        return asked
    if chip.capability >= AMPERE:
        return model.dtype if model.dtype is Dtype.FLOAT16 and model.half else Dtype.BFLOAT16
    return Dtype.FLOAT16 if model.half else Dtype.FLOAT32


def refusal(model: Architecture, chip: Chip, dtype: Dtype, kv: Dtype) -> str | None:
    """Why vLLM refuses to start on this chip; None when it does not."""
    if dtype is Dtype.BFLOAT16 and chip.capability < AMPERE:
        return f"bfloat16 needs Ampere (8.0), and {chip.name} has {_told(chip.capability)}: --dtype half"
    if dtype is Dtype.FLOAT16 and not model.half:
        return "this model does not bear float16: --dtype bfloat16 or float32"
    if kv is Dtype.FP8 and chip.capability < FP8_LOWEST:
        return f"an FP8 KV cache needs {_told(FP8_LOWEST)}, and {chip.name} has {_told(chip.capability)}"
    lowest = _LOWEST.get(model.quantization or "", (0, 0))
    if chip.capability < lowest:
        return f"{model.quantization} needs {_told(lowest)}, and {chip.name} has {_told(chip.capability)}"
    return None


def remark(model: Architecture, chip: Chip, kv: Dtype) -> str | None:
    """What runs, and otherwise than one may think; None when there is nothing to say."""
    if kv is Dtype.FP8 and chip.capability < ADA:
        return "of vLLM's attention kernels only FlashInfer's take an FP8 KV cache below Ada (8.9)"
    if model.quantization in _EIGHT_BITS and chip.capability < ADA:
        return "FP8 weights are computed in 16 bits here (Marlin): they save memory, no time"
    if model.quantization in _FOUR_BITS and chip.capability < BLACKWELL:
        return "4-bit floats are computed in 16 bits here (Marlin): they save memory, no time"
    return None


def _told(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"
