"""kohya's keys by what becomes of them here.

Source: the arguments of `train_network.py` and `library/config_util.py` of kohya-ss/sd-scripts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# Keys that no other train file has: one of them makes it kohya's.
MARKS: Final = frozenset(
    (
        "dataset_config",
        "lr_scheduler",
        "lr_warmup_steps",
        "max_train_epochs",
        "max_train_steps",
        "network_alpha",
        "network_dim",
        "network_module",
        "network_train_unet_only",
        "optimizer_type",
        "output_dir",
        "output_name",
        "pretrained_model_name_or_path",
        "save_every_n_steps",
        "text_encoder_lr",
        "train_batch_size",
        "train_data_dir",
        "unet_lr",
    )
)

# The same thing under another name.
RENAMED: Final[Mapping[str, str]] = {
    "caption_dropout_rate": "caption_dropout",
    "flip_aug": "flip",
    "learning_rate": "learning_rate",
    "max_grad_norm": "max_grad_norm",
    "network_alpha": "alpha",
    "network_dim": "rank",
    "save_every_n_steps": "checkpoint_every",
    "seed": "seed",
    "train_batch_size": "batch_size",
}

# What kohya's trainer takes for keys that its file leaves out.
KOHYA_DEFAULTS: Final[Mapping[str, Any]] = {
    "rank": 4,
    "alpha": 1.0,
    "learning_rate": 2e-6,
    "schedule": "constant",
    "warmup_steps": 0,
    "batch_size": 1,
    "caption_dropout": 0.0,
    "min_snr_gamma": None,
    "max_grad_norm": 1.0,
}
KOHYA_STEPS: Final = 1600

# Where results and logs go, how a machine is used, and what this config says itself.
PASSED_OVER: Final = frozenset(
    (
        # output and logs
        "config_file",
        "huggingface_path_in_repo",
        "huggingface_repo_id",
        "huggingface_repo_type",
        "huggingface_repo_visibility",
        "huggingface_token",
        "async_upload",
        "log_config",
        "log_prefix",
        "log_tracker_config",
        "log_tracker_name",
        "log_with",
        "logging_dir",
        "metadata_author",
        "metadata_description",
        "metadata_license",
        "metadata_tags",
        "metadata_title",
        "no_metadata",
        "output_dir",
        "output_name",
        "sample_at_first",
        "sample_every_n_epochs",
        "sample_every_n_steps",
        "sample_prompts",
        "sample_sampler",
        "save_every_n_epochs",
        "save_last_n_epochs",
        "save_last_n_epochs_state",
        "save_last_n_steps",
        "save_last_n_steps_state",
        "save_model_as",
        "save_n_epoch_ratio",
        "save_precision",
        "save_state",
        "save_state_on_train_end",
        "save_state_to_huggingface",
        "training_comment",
        "wandb_api_key",
        "wandb_run_name",
        # the machine
        "cache_info",
        "cache_latents",
        "cache_latents_to_disk",
        "cache_text_encoder_outputs",
        "cache_text_encoder_outputs_to_disk",
        "gradient_checkpointing",
        "highvram",
        "lowram",
        "max_data_loader_n_workers",
        "mem_eff_attn",
        "mixed_precision",
        "no_half_vae",
        "persistent_data_loader_workers",
        "sdpa",
        "skip_cache_check",
        "vae_batch_size",
        "xformers",
        # said in this config, or by the base model
        "dataset_config",
        "pretrained_model_name_or_path",
        "tokenizer_cache_dir",
        "train_data_dir",
        "v2",
        "v_parameterization",
        # without effect as long as what they belong to is off, which is checked
        "bucket_no_upscale",
        "bucket_reso_steps",
        "caption_separator",
        "class_tokens",
        "keep_tokens",
        "keep_tokens_separator",
        "max_bucket_reso",
        "min_bucket_reso",
        "network_train_unet_only",
        "prior_loss_weight",
    )
)

# Keys that must be off (false, 0, empty): what there is instead.
OFF: Final[Mapping[str, str]] = {
    "adaptive_noise_scale": "plain noise",
    "alpha_mask": "the whole picture counts",
    "base_weights": "one base model and nothing merged into it",
    "caption_dropout_every_n_epochs": "`caption_dropout_rate` alone",
    "caption_prefix": "captions as they are in their files",
    "caption_suffix": "captions as they are in their files",
    "caption_tag_dropout_rate": "whole captions; tags are not dropped",
    "color_aug": "pictures in their own colours",
    "conditioning_data_dir": "pictures and captions only",
    "debiased_estimation_loss": "`min_snr_gamma`",
    "dim_from_weights": "`network_dim`",
    "enable_bucket": "the middle square of every picture",
    "enable_wildcard": "captions as they are in their files",
    "face_crop_aug_range": "the middle square of every picture",
    "full_bf16": "32-bit weights",
    "full_fp16": "32-bit weights",
    "in_json": "captions beside the pictures",
    "initial_epoch": "training from the start",
    "initial_step": "training from the start",
    "ip_noise_gamma": "plain noise",
    "is_reg": "no regularisation pictures",
    "masked_loss": "the whole picture counts",
    "max_timestep": "all timesteps",
    "metadata_file": "captions beside the pictures",
    "min_timestep": "all timesteps",
    "multires_noise_iterations": "plain noise",
    "network_args": "LoRA on the attention of the U-Net",
    "network_dropout": "no dropout inside the network",
    "network_train_text_encoder_only": "the U-Net alone is trained",
    "network_weights": "training from the start",
    "noise_offset": "plain noise",
    "random_crop": "the middle square of every picture",
    "reg_data_dir": "no regularisation pictures",
    "resume": "training from the start; interrupted runs go on by themselves",
    "scale_v_pred_loss_like_noise_pred": "`min_snr_gamma`",
    "scale_weight_norms": "weights as they are",
    "secondary_separator": "captions as they are in their files",
    "shuffle_caption": "captions as they are in their files",
    "text_encoder_lr": "the U-Net alone is trained",
    "token_warmup_step": "whole captions from the start",
    "use_8bit_adam": "`optimizer_type` AdamW",
    "use_lion_optimizer": "`optimizer_type` AdamW",
    "vae": "the base model's own autoencoder",
    "v_pred_like_loss": "`min_snr_gamma`",
    "weighted_captions": "captions without weights",
    "zero_terminal_snr": "the base model's own noise schedule",
}

# Keys that may have these values only.
FIXED: Final[Mapping[str, tuple[tuple[Any, ...], str]]] = {
    "caption_extension": ((".txt", ".caption", "txt", "caption"), "`.txt` and `.caption`"),
    "clip_skip": ((1,), "the last layer of the text encoder"),
    "gradient_accumulation_steps": ((1,), "one batch a step: give `train_batch_size`"),
    "loss_type": (("l2",), "`l2`"),
    "lr_scheduler_power": ((1, 1.0), "`constant` and `cosine`"),
    "max_token_length": ((75,), "75 tokens"),
    "network_module": (("networks.lora",), "`networks.lora`"),
    "network_multiplier": ((1, 1.0), "1"),
    "token_warmup_min": ((1,), "whole captions from the start"),
}
