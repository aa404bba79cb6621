"""Greedy generation on a processor against the fastest peers: llama.cpp and ONNX Runtime.

The same weights in float32, the same prompts and threads, each peer in turn in one process; the
ratio is the median over the rounds of a peer's time over ours. A peer that is not installed is left
out, and said to be: ``pip install llama-cpp-python gguf onnxruntime-genai onnx-ir onnx``.

Weights rounded to 8 bits are compared with each other: our ``int8`` with llama.cpp's q8_0.

    python infra/bench/generation_peers.py --threads 1
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from generation import PROMPT_TOKENS, command, random_model
from torch import Tensor

from textgen.generation.decode_weights import DecodeWeights
from textgen.generation.loop import generate_tokens
from textgen.generation.products import WEIGHT_DTYPES
from textgen.generation.sampling import SamplingOptions
from textgen.model.config import ModelConfig
from textgen.pretrained.saved_model import save_model
from textgen.tokenizer.tokenizer import ByteTokenizer

SHAPES = {
    "1m": ModelConfig(256, 256, 4, 4, 4, 128, 352),
    "11m": ModelConfig(256, 256, 6, 6, 6, 384, 1024),
    "124m": ModelConfig(256, 256, 16, 12, 12, 768, 2304),
}
Generate = Callable[[], list[list[int]]]
"""Generates the new tokens of each prompt."""


@dataclass(frozen=True)
class Result:
    """One model, batch size and peer; times in milliseconds for each new token of a row."""

    model: str
    num_parameters: int
    batch_size: int
    threads: int
    new_tokens: int
    rounds: int
    peer: str
    weight_dtype: str
    """Of ours: that of the peer."""
    textgen_ms: float
    peer_ms: float
    ratio: float
    """Median over the rounds of the peer's time over ours."""
    same_tokens: float
    """Share of the rows with the same tokens from both; rounding may turn a tie."""


def measure(
    names: list[str], batch_sizes: list[int], rounds: int, new_tokens: int, threads: int
) -> Iterator[Result]:
    """Compare for every shape, batch size and peer that is installed."""
    torch.set_num_threads(threads)
    for name in names:
        model = random_model(SHAPES[name])
        with tempfile.TemporaryDirectory() as folder:
            for batch_size in batch_sizes:
                yield from _compare(name, model, batch_size, rounds, new_tokens, Path(folder))


def _compare(
    name: str, model: torch.nn.Module, batch_size: int, rounds: int, count: int, folder: Path
) -> Iterator[Result]:
    prompts = torch.randint(
        1, SHAPES[name].vocab_size, (batch_size, PROMPT_TOKENS),
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    programs = {dtype: _ours(model, prompts, count, dtype) for dtype in WEIGHT_DTYPES}
    for peer, make in _peers().items():
        programs[peer] = make(model, prompts, count, folder)
    texts = {program: run() for program, run in programs.items()}  # warms them up
    times = [{program: _seconds(run) for program, run in programs.items()} for _ in range(rounds)]
    for peer in programs:
        if peer in WEIGHT_DTYPES:
            continue
        ours = "int8" if peer.endswith("q8_0") else "float32"
        same = [a == b for a, b in zip(texts[ours], texts[peer], strict=True)]
        yield Result(
            model=name,
            num_parameters=SHAPES[name].num_parameters,
            batch_size=batch_size,
            threads=torch.get_num_threads(),
            new_tokens=count,
            rounds=rounds,
            peer=peer,
            weight_dtype=ours,
            textgen_ms=1000 / count * statistics.median(each[ours] for each in times),
            peer_ms=1000 / count * statistics.median(each[peer] for each in times),
            ratio=statistics.median(each[peer] / each[ours] for each in times),
            same_tokens=sum(same) / len(same),
        )


def _seconds(run: Generate) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _ours(model: torch.nn.Module, prompts: Tensor, count: int, dtype: str) -> Generate:
    weights, rows = DecodeWeights(model, dtype), prompts.tolist()
    greedy = SamplingOptions(temperature=0)
    return lambda: generate_tokens(
        model, rows, max_new_tokens=count, options=greedy, weights=weights
    )


def _peers() -> dict[str, Callable[[torch.nn.Module, Tensor, int, Path], Generate]]:
    """The peers that are installed here, by name; the others are named on standard error."""
    found: dict[str, Callable[[torch.nn.Module, Tensor, int, Path], Generate]] = {}
    if _installed("llama_cpp", "gguf"):
        found["llama.cpp f32"] = lambda *given: _llama_cpp(*given, "f32")
        found["llama.cpp q8_0"] = lambda *given: _llama_cpp(*given, "q8_0")
    if _installed("onnxruntime_genai"):
        found["onnxruntime f32"] = _onnxruntime
    return found


def _installed(*modules: str) -> bool:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        print(f"left out: no {', '.join(missing)} here", file=sys.stderr)
    return not missing


def _saved(model: torch.nn.Module, folder: Path) -> Path:
    """The model in the format of transformers, where it has not been written yet."""
    path = folder / "model"
    if not path.exists():
        save_model(path, model, ByteTokenizer())
    return path


# ---- llama.cpp


def _llama_cpp(
    model: torch.nn.Module, prompts: Tensor, count: int, folder: Path, kind: str
) -> Generate:
    from llama_cpp import Llama, llama_cpp

    path = folder / f"{kind}.gguf"
    if not path.exists():
        _write_gguf(path, _saved(model, folder), kind)
    rows, prompt = prompts.shape
    threads = torch.get_num_threads()
    # One cache for all sequences; Llama makes the context, its batch of tokens is ours.
    loaded = Llama(
        str(path), n_ctx=rows * (prompt + count + 16), n_batch=512, n_threads=threads,
        n_threads_batch=threads, verbose=False,
    )  # fmt: skip
    parameters = loaded.context_params
    parameters.n_seq_max = rows
    context = llama_cpp.llama_init_from_model(loaded.model, parameters)
    size = model.config.vocab_size
    batch = llama_cpp.llama_batch_init(rows * prompt, 0, rows)

    def decode(tokens: np.ndarray, position: int) -> np.ndarray:
        """Greedy next tokens [rows] after tokens [rows, T] that begin at `position`."""
        batch.n_tokens = tokens.size
        last = tokens.shape[1] - 1
        for number, ((row, column), token) in enumerate(np.ndenumerate(tokens)):
            batch.token[number], batch.pos[number] = int(token), position + column
            batch.n_seq_id[number], batch.seq_id[number][0] = 1, row
            batch.logits[number] = column == last
        assert llama_cpp.llama_decode(context, batch) == 0
        ends = [(row + 1) * tokens.shape[1] - 1 for row in range(len(tokens))]
        logits = [llama_cpp.llama_get_logits_ith(context, end) for end in ends]
        return np.array([np.ctypeslib.as_array(row, (size,)).argmax() for row in logits])

    def run(_keep: Llama = loaded) -> list[list[int]]:  # which frees the model when it goes
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        tokens = [decode(prompts.numpy(), 0)]
        while len(tokens) < count:
            tokens.append(decode(tokens[-1][:, None], prompt + len(tokens) - 1))
        return [list(map(int, row)) for row in np.stack(tokens, 1)]

    return run


_GGUF_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def _gguf_name(name: str) -> str:
    if name in _GGUF_NAMES:
        return _GGUF_NAMES[name]
    _, _, layer, *parts, _ = name.split(".")
    return f"blk.{layer}.{_GGUF_NAMES['.'.join(parts)]}.weight"


def _write_gguf(path: Path, saved: Path, kind: str) -> None:
    """A saved Qwen3 as llama.cpp reads it, without a vocabulary."""
    import gguf
    from safetensors.numpy import load_file

    config = json.loads((saved / "config.json").read_text())
    writer = gguf.GGUFWriter(str(path), "qwen3")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    theta = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]
    writer.add_rope_freq_base(theta)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    for name, values in load_file(saved / "model.safetensors").items():
        if name == "lm_head.weight":
            continue  # the embedding
        if kind == "q8_0" and values.ndim == 2 and values.shape[1] % 32 == 0:
            rounded = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(_gguf_name(name), rounded, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(_gguf_name(name), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# ---- ONNX Runtime


def _onnxruntime(model: torch.nn.Module, prompts: Tensor, count: int, folder: Path) -> Generate:
    import onnxruntime_genai as genai

    path = folder / "onnx"
    if not path.exists():
        subprocess.run(
            [
                sys.executable, "-m", "onnxruntime_genai.models.builder",
                "-i", _saved(model, folder), "-o", path, "-p", "fp32", "-e", "cpu",
                "-c", folder / "cache",
            ],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        _set_threads(path / "genai_config.json", torch.get_num_threads())
    loaded = genai.Model(str(path))
    rows, prompt = prompts.shape

    def run() -> list[list[int]]:
        parameters = genai.GeneratorParams(loaded)
        parameters.set_search_options(
            max_length=prompt + count, min_length=prompt + count, batch_size=rows, do_sample=False
        )
        generator = genai.Generator(loaded, parameters)
        generator.append_tokens(prompts.numpy().astype(np.int32))
        for _ in range(count):
            generator.generate_next_token()
        return [generator.get_sequence(row)[prompt:].tolist() for row in range(rows)]

    return run


def _set_threads(path: Path, threads: int) -> None:
    settings = json.loads(path.read_text())
    options = settings["model"]["decoder"]["session_options"]
    options |= {"intra_op_num_threads": threads, "inter_op_num_threads": 1}
    path.write_text(json.dumps(settings))


def _measured(options: argparse.Namespace) -> Iterator[Result]:
    return measure(
        options.models, options.batch_sizes, options.rounds, options.new_tokens, options.threads
    )


def _line(result: Result) -> str:
    return (
        f"{result.model:>5} batch {result.batch_size}: textgen {result.weight_dtype}"
        f" {result.textgen_ms:.3f} ms,"
        f" {result.peer} {result.peer_ms:.3f} ms a token; ratio {result.ratio:.2f},"
        f" same tokens {result.same_tokens:.0%}"
    )


if __name__ == "__main__":
    command(__doc__ or "", SHAPES, 5, 1, _measured, _line)
