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
    "bucket_reso_steps": "bucket_step",
    "caption_dropout_rate": "caption_dropout",
    "enable_bucket": "buckets",
    "flip_aug": "flip",
    "gradient_checkpointing": "gradient_checkpointing",
    "keep_tokens": "keep_tags",
    "learning_rate": "learning_rate",
    "max_grad_norm": "max_grad_norm",
    "network_alpha": "alpha",
    "network_dim": "rank",
    "noise_offset": "noise_offset",
    "prior_loss_weight": "prior_weight",
    "reg_data_dir": "regularization",
    "save_every_n_steps": "checkpoint_every",
    "seed": "seed",
    "shuffle_caption": "shuffle_captions",
    "torch_compile": "compile",
    "train_batch_size": "batch_size",
    "validate_every_n_steps": "validate_every",
    "validation_split": "validation_share",
}

# Those of them that a dataset file may hold too.
DATASET_RENAMED: Final = (
    "bucket_reso_steps",
    "caption_dropout_rate",
    "enable_bucket",
    "flip_aug",
    "keep_tokens",
    "shuffle_caption",
    "validation_split",
)

# What kohya's trainer takes for keys that its file leaves out.
KOHYA_DEFAULTS: Final[Mapping[str, Any]] = {
    "rank": 4,
    "alpha": 1.0,
    "learning_rate": 2e-6,
    "schedule": "constant",
    "warmup_steps": 0,
    "batch_size": 1,
    "buckets": False,
    "bucket_step": 64,
    "caption_dropout": 0.0,
    "crop": "center",
    "keep_tags": 0,
    "min_snr_gamma": None,
    "max_grad_norm": 1.0,
    "precision": "fp32",
    "shuffle_captions": False,
}
# What `networks.lora` teaches: every linear layer of the transformer blocks, and with `conv_dim`
# every layer of the residual blocks and of those that change the size.
KOHYA_MODULES: Final = ("attention", "feed-forward", "proj_in", "proj_out")
KOHYA_CONVOLUTION: Final = (
    "convolution",
    "time_emb_proj",
    "downsamplers.0.conv",
    "upsamplers.0.conv",
)
# The 3 × 3 convolutions among them, by parts of their paths.
KOHYA_WIDE: Final = ("conv1", "conv2", "samplers.0.conv")
PRECISION: Final[Mapping[str, str]] = {"no": "fp32", "fp16": "fp16", "bf16": "bf16"}
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
        "resume_from_huggingface",
        "output_config",
        "training_comment",
        "wandb_api_key",
        "wandb_run_name",
        # the machine
        "cache_info",
        "cache_latents",
        "cache_latents_to_disk",
        "cache_text_encoder_outputs",
        "cache_text_encoder_outputs_to_disk",
        "highvram",
        "lowram",
        "blocks_to_swap",
        "cpu_offload_checkpointing",
        "ddp_gradient_as_bucket_view",
        "ddp_static_graph",
        "ddp_timeout",
        "disable_mmap_load_safetensors",
        "dynamo_backend",
        "max_validation_steps",
        "text_encoder_batch_size",
        "validate_every_n_epochs",
        "max_data_loader_n_workers",
        "mem_eff_attn",
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
        # of what is refused, or chosen by `dataset` and `trigger` here
        "base_weights_multiplier",
        "bucket_no_upscale",
        "class_tokens",
        "huber_c",
        "huber_scale",
        "huber_schedule",
        "lr_decay_steps",
        "lr_scheduler_min_lr_ratio",
        "lr_scheduler_power",
        "lr_scheduler_timescale",
        "max_bucket_reso",
        "min_bucket_reso",
        "multires_noise_discount",
        "skip_until_initial_step",
        "validation_seed",
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
    "custom_attributes": "what is said in this config",
    "dataset_class": "pictures in folders",
    "debiased_estimation_loss": "`min_snr_gamma`",
    "dim_from_weights": "`network_dim`",
    "enable_wildcard": "captions as they are in their files",
    "face_crop_aug_range": "`random_crop`",
    "fp8_base": "`mixed_precision`",
    "fp8_base_unet": "`mixed_precision`",
    "full_bf16": "32-bit weights",
    "full_fp16": "32-bit weights",
    "fused_backward_pass": "gradients first, then the step",
    "in_json": "captions beside the pictures",
    "initial_epoch": "training from the start",
    "initial_step": "training from the start",
    "ip_noise_gamma": "plain noise",
    "ip_noise_gamma_random_strength": "plain noise",
    "keep_tokens_separator": "`keep_tokens`",
    "lr_scheduler_args": "`lr_scheduler` alone",
    "lr_scheduler_type": "`lr_scheduler`",
    "masked_loss": "the whole picture counts",
    "max_timestep": "all timesteps",
    "metadata_file": "captions beside the pictures",
    "min_timestep": "all timesteps",
    "multires_noise_iterations": "plain noise",
    "network_dropout": "no dropout inside the network",
    "network_train_text_encoder_only": "the U-Net alone is trained",
    "network_weights": "training from the start",
    "noise_offset_random_strength": "`noise_offset`",
    "perlin_noise": "plain noise",
    "resume": "training from the start; interrupted runs go on by themselves",
    "scale_v_pred_loss_like_noise_pred": "`min_snr_gamma`",
    "scale_weight_norms": "weights as they are",
    "secondary_separator": "captions as they are in their files",
    "token_warmup_step": "whole captions from the start",
    "use_lion_optimizer": "`optimizer_type` AdamW",
    "v_pred_like_loss": "`min_snr_gamma`",
    "vae": "the base model's own autoencoder",
    "weighted_captions": "captions without weights",
    "zero_terminal_snr": "the base model's own noise schedule",
}

# Keys that may have these values only.
FIXED: Final[Mapping[str, tuple[tuple[Any, ...], str]]] = {
    "caption_extension": ((".txt", ".caption", "txt", "caption"), "`.txt` and `.caption`"),
    "caption_extention": ((".txt", ".caption", "txt", "caption"), "`.txt` and `.caption`"),
    "caption_separator": ((",", ", "), "`,`"),
    "clip_skip": ((1,), "the last layer of the text encoder"),
    "dataset_repeats": ((1,), "`num_repeats`"),
    "loss_type": (("l2",), "`l2`"),
    "max_token_length": ((75,), "75 tokens"),
    "network_module": (("networks.lora",), "`networks.lora`"),
    "network_multiplier": ((1, 1.0), "1"),
    "resize_interpolation": (("lanczos",), "`lanczos`"),
    "token_warmup_min": ((1,), "whole captions from the start"),
}
