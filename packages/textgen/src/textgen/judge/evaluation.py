"""``textgen evaluate --generation``: a model's continuations of held-out books, judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hvdcore.errors import UserError
from hvdcore.logs import get_logger
from textgen.judge.continuations import write_continuations
from textgen.judge.figures import HUMAN, has_mauve, settings
from textgen.judge.held_out import held_out_prompts
from textgen.judge.judgement import judge_texts
from textgen.judge.prompts import Prompt

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from hvdcore.world import World
    from textgen.judge.config import JudgeConfig
    from textgen.model import Transformer
    from textgen.prepare import DataConfig
    from textgen.tokenizer import Tokenizer

__all__ = ["Named", "judge_model", "judgement_json", "open_scorer"]

logger = get_logger(__name__)


class Named(NamedTuple):
    """A model under the name that results give it."""

    name: str
    model: Transformer
    tokenizer: Tokenizer


def open_scorer(path: str, device: torch.device) -> Named:
    """The fixed model that judges.

    Raises:
        UserError: no model there.
    """
    from textgen.saved_model import load_model, model_folder

    try:
        return Named(path, *load_model(model_folder(path), device))
    except UserError as error:
        raise UserError(*(f"scorer: {problem}" for problem in error.problems)) from error


def judge_model(
    writer: Named,
    scorer: Named,
    data: DataConfig,
    splits: Sequence[str],
    config: JudgeConfig,
    world: World,
) -> dict[str, Any]:
    """The judgement of one model as JSON, on rank 0; elsewhere nothing. Every rank must call.

    Raises:
        UserError: no held-out text, or too little.
    """
    warn_of_mauve(world)
    split, prompts = held_out_prompts(data, splits, config, world)
    texts = write_continuations(
        writer.model, writer.tokenizer, prompts, config.decodings,
        num_words=config.continuation_words, seed=config.seed, world=world,
    )  # fmt: skip
    figures = judge_texts(
        scorer.model, scorer.tokenizer, prompts, texts, seed=config.seed, world=world
    )
    return judgement_json(config, split, scorer.name, prompts, texts, figures)


def judgement_json(
    config: JudgeConfig,
    split: str,
    scorer: str,
    prompts: Sequence[Prompt],
    texts: Mapping[str, Sequence[str]],
    figures: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The content of `generation.json`: what was asked, the figures, and every text."""
    return {
        "schema": 1,
        "split": split,
        "num_prompts": config.num_prompts,
        "prompt_words": config.prompt_words,
        "continuation_words": config.continuation_words,
        "seed": config.seed,
        "scorer": scorer,
        "settings": settings(config.num_prompts),
        "figures": figures,
        "prompts": [
            {
                "place": prompt.place,
                "prompt": prompt.text,
                "texts": {
                    HUMAN: prompt.human,
                    **{name: part[number] for name, part in texts.items()},
                },
            }
            for number, prompt in enumerate(prompts)
        ],
    }


def warn_of_mauve(world: World) -> None:
    """Say what is left out, and what brings it."""
    if world.is_root and not has_mauve():
        logger.warning("MAUVE is left out: it needs scikit-learn; pip install 'textgen[mauve]'")
