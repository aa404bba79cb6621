"""``textgen evaluate --generation``: a model's continuations of held-out books, judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hvdcore.errors import UserError
from hvdcore.tracking.logs import get_logger
from textgen.evaluation.quality.continuations import write_continuations
from textgen.evaluation.quality.prompts import Prompt
from textgen.evaluation.quality.scores import HUMAN, has_mauve, judge_texts, settings
from textgen.pretrained.load import open_model_on_all_ranks

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from hvdcore.runtime.world import World
    from textgen.evaluation.quality.config import JudgeConfig
    from textgen.pretrained.load import OpenedModel

__all__ = ["judge_model", "judgement_json", "open_scorer"]

logger = get_logger(__name__)


def open_scorer(name: str, world: World, device: torch.device) -> OpenedModel:
    """The fixed model that judges. Every rank must call.

    Raises:
        UserError: no model there.
    """
    try:
        return open_model_on_all_ranks(name, world, device)
    except UserError as error:
        raise UserError(*(f"scorer: {problem}" for problem in error.problems)) from error


def judge_model(
    writer: OpenedModel,
    scorer: OpenedModel,
    split: str,
    prompts: Sequence[Prompt],
    config: JudgeConfig,
    world: World,
) -> dict[str, Any]:
    """The judgement of one model as JSON. Every rank must call; all get the same."""
    warn_of_mauve(world)
    texts = write_continuations(
        writer, prompts, config.decodings,
        num_words=config.continuation_words, seed=config.seed, world=world,
    )  # fmt: skip
    figures = judge_texts(scorer, prompts, texts, seed=config.seed, world=world)
    judge = "the model itself" if scorer is writer else scorer.place.name
    return judgement_json(config, split, judge, prompts, texts, figures)


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
