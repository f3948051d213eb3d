"""Turn a checkpoint of `make_tiny_model.py` into one GGUF file, for llama.cpp.

    python examples/make_tiny_model.py /tmp/tiny
    python examples/make_tiny_gguf.py /tmp/tiny /tmp/tiny.gguf
    llm-atc serve --cloud local --name /tmp/tiny.gguf

GGUF keeps in one file what Hugging Face keeps in four: the sizes, the vocabulary, the chat template and the
tensors, each under llama.cpp's own name. One thing is more than a change of names: both turn pairs of values
in queries and keys by an angle that tells the position (RoPE), and they disagree about which values are a
pair. Hugging Face pairs the first half with the second, llama.cpp neighbours; so the rows are reordered.

For real models use llama.cpp's `convert_hf_to_gguf.py`, which knows every architecture. Needs numpy,
safetensors and gguf.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFWriter, TokenType
from safetensors.numpy import load_file

WHOLE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
OF_A_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def make(source: str | Path, out: str | Path) -> Path:
    """Write the Llama checkpoint in `source` as the file `out`, in 32-bit floats, and return it."""
    folder, file = Path(source), Path(out)
    config = _read(folder / "config.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(file, "llama")
    try:
        add_sizes(writer, config)
        add_vocabulary(writer, _read(folder / "tokenizer.json"), config)
        writer.add_chat_template(_read(folder / "tokenizer_config.json")["chat_template"])
        for name, tensor in load_file(folder / "model.safetensors").items():
            writer.add_tensor(*convert(name, tensor, config))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
    return file


def add_sizes(writer: GGUFWriter, config: dict[str, Any]) -> None:
    """The shape of the network."""
    writer.add_name("tiny")
    writer.add_file_type(0)  # all tensors are 32-bit floats
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def add_vocabulary(writer: GGUFWriter, tokenizer: dict[str, Any], config: dict[str, Any]) -> None:
    """The tokens in the order of their numbers; rows of the embedding that no token uses get a name too."""
    tokens = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].__getitem__)
    special = {token["id"] for token in tokenizer["added_tokens"]}
    kinds = [TokenType.CONTROL if number in special else TokenType.NORMAL for number in range(len(tokens))]
    spare = range(len(tokens), config["vocab_size"])
    writer.add_tokenizer_model("gpt2")  # llama.cpp's word for byte-level BPE
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*tokens, *(f"<unused{number}>" for number in spare)])
    writer.add_token_types([*kinds, *(TokenType.UNUSED for _ in spare)])
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)


def convert(name: str, tensor: np.ndarray, config: dict[str, Any]) -> tuple[str, np.ndarray]:
    """llama.cpp's name for a tensor, and the tensor as llama.cpp wants it."""
    tensor = np.ascontiguousarray(tensor.astype(np.float32))
    if name in WHOLE:
        return WHOLE[name], tensor
    _, _, layer, rest = name.split(".", 3)
    part = rest.removesuffix(".weight")
    if part == "self_attn.q_proj":
        tensor = neighbours(tensor, config["num_attention_heads"])
    elif part == "self_attn.k_proj":
        tensor = neighbours(tensor, config["num_key_value_heads"])
    return f"blk.{layer}.{OF_A_LAYER[part]}.weight", tensor


def neighbours(tensor: np.ndarray, heads: int) -> np.ndarray:
    """Reorder each head's rows from (first half, second half) to pairs of neighbours."""
    rows, columns = tensor.shape
    paired = tensor.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2)
    found: np.ndarray = np.ascontiguousarray(paired.reshape(rows, columns))
    return found


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", help="a folder that make_tiny_model.py wrote")
    parser.add_argument("out", help="the .gguf file to write")
    given = parser.parse_args()
    print(make(given.source, given.out))
