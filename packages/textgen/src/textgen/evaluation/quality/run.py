"""``textgen evaluate --generation``: measuring the quality of a model's continuations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hvdcore.errors import UserError
from hvdcore.tracking.logs import get_logger
from textgen.evaluation.quality.continuations import write_continuations
from textgen.evaluation.quality.prompts import Prompt
from textgen.evaluation.quality.scores import HUMAN, compare_texts, has_mauve, settings
from textgen.pretrained.load import open_model_distributed

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from hvdcore.runtime.world import World
    from textgen.evaluation.quality.config import QualityConfig
    from textgen.pretrained.load import LoadedModel

__all__ = ["measure_quality", "open_scorer", "quality_json"]

logger = get_logger(__name__)


def open_scorer(name: str, world: World, device: torch.device) -> LoadedModel:
    """The fixed model that scores generated text. Every rank must call.

    Raises:
        UserError: there is no such model.
    """
    try:
        return open_model_distributed(name, world, device)
    except UserError as error:
        raise UserError(*(f"scorer: {problem}" for problem in error.problems)) from error


def measure_quality(
    writer: LoadedModel,
    scorer: LoadedModel,
    split: str,
    prompts: Sequence[Prompt],
    config: QualityConfig,
    world: World,
) -> dict[str, Any]:
    """The quality of one model's texts, as JSON. Every rank must call; all get the same."""
    warn_without_mauve(world)
    texts = write_continuations(
        writer, prompts, config.decodings,
        num_words=config.continuation_words, seed=config.seed, world=world,
    )  # fmt: skip
    figures = compare_texts(scorer, prompts, texts, seed=config.seed, world=world)
    name = "the model itself" if scorer is writer else scorer.source.name
    return quality_json(config, split, name, prompts, texts, figures)


def quality_json(
    config: QualityConfig,
    split: str,
    scorer: str,
    prompts: Sequence[Prompt],
    texts: Mapping[str, Sequence[str]],
    figures: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The content of `generation.json`: the settings, the metrics, and all texts."""
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
                "place": prompt.offset,
                "prompt": prompt.text,
                "texts": {
                    HUMAN: prompt.human,
                    **{name: own[number] for name, own in texts.items()},
                },
            }
            for number, prompt in enumerate(prompts)
        ],
    }


def warn_without_mauve(world: World) -> None:
    """Warn where MAUVE cannot be computed, and say what to install."""
    if world.is_root and not has_mauve():
        logger.warning("MAUVE is not computed: it needs scikit-learn; pip install 'textgen[mauve]'")
