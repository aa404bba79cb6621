"""`textgen export`: the model in a form that other software loads, checked by loading it there."""

from __future__ import annotations

from pathlib import Path

from hvdcore.errors import UserError
from textgen.export_hf import write_hf
from textgen.export_onnx import check_onnx_installed, write_onnx
from textgen.pretrained.load import open_model
from textgen.pretrained.saved_model import replace_folder

__all__ = ["export"]

FORMS = {"hf": write_hf, "onnx": write_onnx}


def export(name: Path, to: str, output_dir: Path | None) -> str:
    """Write the model to output_dir in the form `to`; return what was written, in a line.

    "hf": what plain transformers loads, ours as LlamaForCausalLM, Qwen3ForCausalLM or
    Lfm2ForCausalLM, without remote code; token ids are compared too. "onnx": a graph for ONNX
    Runtime. Either way logits are compared with those of the other program before the folder
    appears.

    Args:
        name: a run, a folder with a model, or a hub id.

    Raises:
        UserError: an unknown form, no such model, an output_dir that is in use, or a library that
            is not installed.
    """
    if to not in FORMS:
        raise UserError(f"to: got {to!r}; give {' or '.join(FORMS)}")
    if output_dir is None:
        raise UserError("output_dir: not given; say where with --output-dir DIR")
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise UserError(f"output_dir: {output_dir} is not empty; give a new folder")
    if to == "onnx":
        check_onnx_installed()
    opened = open_model(name)
    told: list[str] = []
    replace_folder(output_dir, lambda folder: told.append(FORMS[to](folder, opened)))
    return f"{output_dir}: {told[0]}"
