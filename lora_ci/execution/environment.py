"""What of our environment an attempt gets: what programs need to run, and what was named.

Everything else may be a secret: tokens of the git host, the ledger's password, where a key lies.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

NAMES = frozenset(
    [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "VIRTUAL_ENV",
        "LD_LIBRARY_PATH",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "NO_PROXY",
        "no_proxy",
        "CUBLAS_WORKSPACE_CONFIG",
        "NO_COLOR",
        "DVC_NO_ANALYTICS",
        "LORA_CI_CLAMD",
        "LORA_CI_YARA",
    ]
)
PREFIXES = (
    *("LC_", "PYTHON", "XDG_", "CUDA_", "NVIDIA_", "NCCL_", "GLOO_", "ROCR_", "HIP_", "HSA_"),
    *("OMP_", "MKL_", "OPENBLAS_", "TORCH", "PYTORCH_", "TRANSFORMERS_", "DIFFUSERS_", "HF_HUB_"),
    *("HF_HOME", "HF_DATASETS_"),
)
# What is left of those that the prefixes let through.
SECRET = ("TOKEN", "SECRET", "PASSWORD", "_KEY")


def passed_on(environment: Mapping[str, str], named: Collection[str] = ()) -> dict[str, str]:
    """The variables that an attempt may have; `named` are those that an operator allowed."""
    return {name: value for name, value in environment.items() if _may(name, named)}


def _may(name: str, named: Collection[str]) -> bool:
    if name in named or name in NAMES:
        return True
    return name.startswith(PREFIXES) and not any(part in name for part in SECRET)
