"""diffusers' own pipelines over the tiny folders, asked as ours are."""

import numpy as np
import torch
from diffusers import FluxPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline

from tests.tiny_parts import TEXT_TOKENS

PIPELINES = {
    "sd1": StableDiffusionPipeline,
    "sd2": StableDiffusionPipeline,
    "sdxl": StableDiffusionXLPipeline,
    "flux": FluxPipeline,
}


def open_pipeline(folder, family):
    pipe = PIPELINES[family].from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def pipeline_picture(pipe, request, **more):
    """The picture of a request; FLUX's pipeline takes no negative prompt without true CFG."""
    if isinstance(pipe, FluxPipeline):
        # Its default is what the real tokenizer cuts at; ours cuts where the tokenizer says.
        more["max_sequence_length"] = TEXT_TOKENS
    else:
        more |= {
            "negative_prompt": request.negative_prompt,
            "guidance_rescale": request.guidance_rescale,
        }
    return np.asarray(
        pipe(
            request.prompt,
            num_inference_steps=request.steps,
            guidance_scale=request.guidance,
            width=request.width,
            height=request.height,
            generator=torch.Generator().manual_seed(request.seed),
            **more,
        ).images[0]
    )


def distance(one, other):
    """The largest difference of any level, of 255."""
    return int(np.abs(one.astype(int) - other.astype(int)).max())
