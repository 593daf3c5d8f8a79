"""Models that caption pictures, tiny and random, made without a network."""

from __future__ import annotations

from pathlib import Path

from tests.tiny_embedders import SIDE

TEXTS = ["a red cup on a table", "two dogs in the snow", "a woman wearing a hat", "describe this"]
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<image>"]
PROGRAM = """
import json, sys
import numpy as np
from PIL import Image

for line in sys.stdin:
    pictures = [np.asarray(Image.open(p)) for p in json.loads(line)["pictures"]]
    texts = [f"a picture of {p.mean():.0f} by {p.shape[1]}" for p in pictures]
    print(json.dumps({"captions": texts}), flush=True)
"""
# LLaVA 1.5's. Source: https://huggingface.co/llava-hf/llava-1.5-7b-hf, chat_template.json
CHAT = (
    "{% for message in messages %}{{ message['role'] | upper + ': ' }}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ content['text'] + ' ' }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def tokenizer():
    """Trained on a few words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    engine.train_from_iterator(TEXTS, trainer)
    engine.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=engine,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )


def write_git(folder: Path) -> Path:
    """A GIT of random weights."""
    from transformers import CLIPImageProcessorPil, GitConfig, GitForCausalLM, GitProcessor

    known = tokenizer()
    config = GitConfig(
        vision_config=_vision(), **_small(), **_ids(), vocab_size=len(known),
        max_position_embeddings=256,
    )  # fmt: skip
    _save(GitForCausalLM, config, folder)
    GitProcessor(_clip(CLIPImageProcessorPil), known).save_pretrained(folder)
    return folder


def write_blip2(folder: Path) -> Path:
    """A BLIP-2 of random weights, with an OPT."""
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        BlipImageProcessorPil,
    )

    known = tokenizer()
    text = {
        **_ids(), "model_type": "opt", "vocab_size": len(known), "hidden_size": 24, "ffn_dim": 48,
        "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 256,
        "word_embed_proj_dim": 24, "init_std": 0.5,
    }  # fmt: skip
    former = {**_small(), "encoder_hidden_size": 24, "vocab_size": 8}
    config = Blip2Config(
        vision_config=_vision(), qformer_config=former, text_config=text, num_query_tokens=4,
        image_token_index=SPECIAL.index("<image>"), initializer_range=0.5,
    )  # fmt: skip
    _save(Blip2ForConditionalGeneration, config, folder)
    side = {"height": SIDE, "width": SIDE}
    pictures = BlipImageProcessorPil(size=side)
    Blip2Processor(pictures, known, num_query_tokens=4).save_pretrained(folder)
    return folder


def write_llava(folder: Path) -> Path:
    """A LLaVA of random weights, which is spoken with."""
    from transformers import (
        CLIPImageProcessorPil,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    known = tokenizer()
    text = {
        **_small(), **_ids(), "model_type": "llama", "vocab_size": len(known),
        "num_key_value_heads": 2, "max_position_embeddings": 512,
    }  # fmt: skip
    config = LlavaConfig(
        vision_config={**_vision(), "model_type": "clip_vision_model"}, text_config=text,
        image_token_index=SPECIAL.index("<image>"), vision_feature_layer=-1,
    )  # fmt: skip
    _save(LlavaForConditionalGeneration, config, folder)
    processor = LlavaProcessor(
        _clip(CLIPImageProcessorPil), known, patch_size=8, chat_template=CHAT,
        vision_feature_select_strategy="default", num_additional_image_tokens=1,
    )  # fmt: skip
    processor.save_pretrained(folder)
    return folder


def write_tagger(folder: Path, tags: str | None = None) -> Path:
    """Sure of a color by how much of it there is: a rating, two tags and a character."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    # Columns: the rating, then what is blue, green and red in the order blue, green, red.
    weights = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]], np.float32) / 255
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["pixels"], ["means"], axes=[1, 2], keepdims=0),
            helper.make_node("MatMul", ["means", "weights"], ["shares"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ("n", SIDE, SIDE, 3))],
        [helper.make_tensor_value_info("shares", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder.mkdir(parents=True, exist_ok=True)
    save(model, str(folder / "model.onnx"))
    rows = "0,general,9,1\n1,blue_hair,0,1\n2,green_(grass),0,1\n3,red_queen,4,1\n"
    told = "tag_id,name,category,count\n" + rows if tags is None else tags
    (folder / "selected_tags.csv").write_text(told)
    return folder


def _small() -> dict[str, object]:
    return {
        "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "initializer_range": 0.5,
    }  # fmt: skip


def _vision() -> dict[str, object]:
    return {**_small(), "image_size": SIDE, "patch_size": 8}


def _ids() -> dict[str, int]:
    return {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def _clip(kind):
    crop = {"height": SIDE, "width": SIDE}
    return kind(size={"shortest_edge": SIDE}, crop_size=crop)


def _save(kind, config, folder: Path) -> None:
    import torch

    # Before there are weights: with some others a model says the same of all pictures.
    torch.manual_seed(5)
    model = kind(config)
    # What begins as zeros would make all pictures alike.
    for value in model.parameters():
        if not value.any():
            value.data = torch.randn_like(value)
    model.save_pretrained(folder)
