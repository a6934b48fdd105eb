"""Text prompts as embeddings; the text encoders are loaded for that and dropped again."""

import gc
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dift_edit.errors import MissingDependencyError, ModelError, first_line
from dift_edit.features.weights import quiet_transformers

__all__ = ["PromptEmbedding", "encode_prompt"]


@dataclass(frozen=True, eq=False)
class PromptEmbedding:
    """What a U-Net is told about the picture.

    Attributes
    ----------
    tokens : torch.Tensor
        (1, L, D) last (SDXL: last but one) hidden state of the text encoders.
    pooled : torch.Tensor or None
        (1, D) of SDXL's second encoder.
    """

    tokens: torch.Tensor
    pooled: torch.Tensor | None = None


def encode_prompt(folder: Path, prompt: str) -> PromptEmbedding:
    """Embed a prompt with the text encoders of a diffusers folder, on the CPU in float32.

    Parameters
    ----------
    folder : path
        Holds ``tokenizer/`` and ``text_encoder/``; SDXL also ``tokenizer_2/`` and ``text_encoder_2/``.
    prompt : str
        The words; may be empty.

    Returns
    -------
    PromptEmbedding

    Raises
    ------
    ModelError
        If a part is missing or broken.
    MissingDependencyError
        If transformers is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingDependencyError(
            "transformers", "transformers", "Encoding the prompt of Stable Diffusion"
        ) from error
    second = (folder / "text_encoder_2").is_dir()
    states, pooled = [], None
    for suffix in ("", "_2") if second else ("",):
        place = folder / f"text_encoder{suffix}"
        try:
            names = json.loads((place / "config.json").read_text()).get("architectures") or ["CLIPTextModel"]
            tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / f"tokenizer{suffix}", local_files_only=True)
            with quiet_transformers():
                encoder = getattr(transformers, names[0]).from_pretrained(
                    place, local_files_only=True, use_safetensors=True, dtype=torch.float32
                )
            ids = _token_ids(tokenizer, encoder, prompt)
            with torch.inference_mode():
                output = encoder.eval()(ids, output_hidden_states=second)
        except Exception as error:  # each library underneath has errors of its own
            reason = first_line(error)
            raise ModelError(
                f"The text encoder in {place} cannot be used ({reason}): restore it and its tokenizer."
            ) from error
        states.append(output.hidden_states[-2] if second else output.last_hidden_state)
        pooled = output.text_embeds if second and suffix else None
        del encoder
    gc.collect()
    return PromptEmbedding(torch.cat(states, -1).clone(), None if pooled is None else pooled.clone())


def _token_ids(tokenizer: Any, encoder: Any, prompt: str) -> torch.Tensor:
    """(1, L) padded to the encoder's length, as diffusers' pipelines do."""
    length = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
    ids = tokenizer(prompt, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
    return torch.as_tensor(ids)
