"""Make a real, tiny language model to try llm-atc with: eight megabytes, in a quarter of a second.

    python examples/make_tiny_model.py /tmp/tiny
    llm-atc serve --cloud local --name /tmp/tiny

It is a Llama like any other: a configuration, a trained tokenizer with a chat template, and weights in the
safetensors format. The weights are random, so it talks nonsense; but every engine loads it, streams it and
counts its tokens as it would those of a large one. With --embed it becomes an embedding model: the same
network without the head that chooses the next token.

A checkpoint is a folder of four files, and this script writes each of them:

    config.json              the architecture and its sizes
    tokenizer.json           how text becomes numbers
    tokenizer_config.json    the special tokens, and how a chat becomes one text
    model.safetensors        the tensors, by name

Needs numpy, safetensors and tokenizers; neither torch nor transformers.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", "<|system|>", "<|user|>", "<|assistant|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The shape of the network. A head has `hidden / heads` values; vLLM on a CPU wants 32 or more.

    One matrix has to be larger than a MiB in bfloat16: with none, vLLM 0.32 on a processor that has AMX never
    asks Linux whether it may use that, and dies at its first request.
    """

    hidden: int = 128
    layers: int = 2
    heads: int = 4
    key_value_heads: int = 2
    intermediate: int = 2176
    vocabulary: int = 1024
    context: int = 2048

    @property
    def head(self) -> int:
        return self.hidden // self.heads


def make(out: str | Path, *, sizes: Sizes | None = None, seed: int = 0, embed: bool = False) -> Path:
    """Write the checkpoint into `out`, which is made, and return it. The same seed makes the same weights."""
    sizes = sizes or Sizes()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    train_tokenizer(sizes.vocabulary).save(str(folder / "tokenizer.json"))
    _write(folder / "tokenizer_config.json", tokenizer_config(sizes))
    _write(folder / "config.json", config(sizes, embed=embed))
    # The metadata says whose layout the tensors have; transformers and vLLM refuse a file without it.
    save_file(tensors(sizes, seed, embed=embed), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def train_tokenizer(vocabulary: int) -> Tokenizer:
    """A byte-level BPE tokenizer: it starts from 256 bytes and merges the pairs that it sees most often."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    fables = [f"The quick brown fox number {number} jumps over the lazy dog." for number in range(2000)]
    tokenizer.train_from_iterator([Path(__file__).read_text(), *fables], trainer)
    return tokenizer


def tokenizer_config(sizes: Sizes) -> dict[str, Any]:
    """Which tokens are special, and the template that turns a chat's messages into one text."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "model_max_length": sizes.context,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }


def config(sizes: Sizes, *, embed: bool) -> dict[str, Any]:
    """The architecture. Engines choose their code by its name: LlamaModel is Llama without its head."""
    return {
        "architectures": ["LlamaModel" if embed else "LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": sizes.hidden,
        "intermediate_size": sizes.intermediate,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.key_value_heads,
        "head_dim": sizes.head,
        "vocab_size": sizes.vocabulary,
        "max_position_embeddings": sizes.context,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": False,
        "unk_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 3,
        "torch_dtype": "float32",
    }


def tensors(sizes: Sizes, seed: int, *, embed: bool) -> dict[str, np.ndarray]:
    """The weights by the names that Hugging Face's Llama gives them: small random numbers, and norms of 1."""
    random = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        found: np.ndarray = (random.standard_normal(shape) * 0.02).astype(np.float32)
        return found

    ones: np.ndarray = np.ones(sizes.hidden, np.float32)
    queries, keys = sizes.heads * sizes.head, sizes.key_value_heads * sizes.head
    found = {
        "model.embed_tokens.weight": weights(sizes.vocabulary, sizes.hidden),
        "lm_head.weight": weights(sizes.vocabulary, sizes.hidden),
        "model.norm.weight": ones,
    }
    for layer in range(sizes.layers):
        at = f"model.layers.{layer}"
        found |= {
            f"{at}.input_layernorm.weight": ones,
            f"{at}.self_attn.q_proj.weight": weights(queries, sizes.hidden),
            f"{at}.self_attn.k_proj.weight": weights(keys, sizes.hidden),
            f"{at}.self_attn.v_proj.weight": weights(keys, sizes.hidden),
            f"{at}.self_attn.o_proj.weight": weights(sizes.hidden, queries),
            f"{at}.post_attention_layernorm.weight": ones,
            f"{at}.mlp.gate_proj.weight": weights(sizes.intermediate, sizes.hidden),
            f"{at}.mlp.up_proj.weight": weights(sizes.intermediate, sizes.hidden),
            f"{at}.mlp.down_proj.weight": weights(sizes.hidden, sizes.intermediate),
        }
    if not embed:
        return found
    del found["lm_head.weight"]
    return {name.removeprefix("model."): tensor for name, tensor in found.items()}


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", help="the folder to write")
    parser.add_argument("--embed", action="store_true", help="make an embedding model")
    parser.add_argument("--seed", type=int, default=0, help="another seed makes other weights")
    given = parser.parse_args()
    print(make(given.out, seed=given.seed, embed=given.embed))
