"""What a denoiser learns: how latents are noised, what it ought to say, how much it counts.

Shapes: b batch, c latent channels, h and w latent sides; times [b].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from lora_ci.diffusion.load import BaseModel


class Objective(Protocol):
    """The task that a family of models was trained on."""

    def draw_times(self, count: int, source: torch.Generator) -> torch.Tensor:
        """Random times [count], as the family is trained."""
        ...

    def even_times(self, count: int) -> torch.Tensor:
        """Times [count] from little to much noise, the ends left out."""
        ...

    def add_noise(self, x: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """Latents x [b, c, h, w] at their times."""
        ...

    def target(self, x: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """What the denoiser ought to say, [b, c, h, w]."""
        ...

    def loss_weight(self, times: torch.Tensor, gamma: float | None) -> torch.Tensor:
        """How much each sample's loss counts, [b]."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NoiseObjective:
    """Diffusion in discrete time: predicts the noise, or v. `alphas` are cumulative, [times]."""

    alphas: torch.Tensor
    prediction: str

    def draw_times(self, count: int, source: torch.Generator) -> torch.Tensor:
        return torch.randint(len(self.alphas), (count,), generator=source)

    def even_times(self, count: int) -> torch.Tensor:
        return torch.linspace(0, len(self.alphas) - 1, count + 2)[1:-1].round().long()

    def add_noise(self, x: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """Source: Ho et al. 2020, https://arxiv.org/abs/2006.11239, equation 4."""
        alpha = self._alpha(times, x)
        return alpha.sqrt() * x + (1 - alpha).sqrt() * noise

    def target(self, x: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """Source: v, Salimans and Ho 2022, https://arxiv.org/abs/2202.00512, appendix D."""
        if self.prediction != "v_prediction":
            return noise
        alpha = self._alpha(times, x)
        return alpha.sqrt() * noise - (1 - alpha).sqrt() * x

    def loss_weight(self, times: torch.Tensor, gamma: float | None) -> torch.Tensor:
        """Source: min-SNR-γ, Hang et al. 2023, https://arxiv.org/abs/2303.09556, section 3.4."""
        alpha = self.alphas.to(times.device)[times]
        if gamma is None:
            return torch.ones_like(alpha)
        snr = alpha / (1 - alpha).clamp_min(1e-8)
        if self.prediction == "v_prediction":
            return snr.clamp_max(gamma) / (snr + 1)
        return snr.clamp_max(gamma) / snr.clamp_min(1e-8)

    def _alpha(self, times: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.alphas.to(x)[times.to(x.device)].view(-1, 1, 1, 1)


@dataclass(frozen=True, slots=True)
class FlowObjective:
    """Rectified flow: a straight way from picture to noise, times in (0, 1); predicts its slope.

    Source: Esser et al. 2024, https://arxiv.org/abs/2403.03206, equations 1, 13 and 19.
    """

    def draw_times(self, count: int, source: torch.Generator) -> torch.Tensor:
        """Logit-normal with location 0 and scale 1."""
        return torch.sigmoid(torch.randn(count, generator=source))

    def even_times(self, count: int) -> torch.Tensor:
        return torch.linspace(0, 1, count + 2)[1:-1]

    def add_noise(self, x: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        share = times.to(x).view(-1, 1, 1, 1)
        return (1 - share) * x + share * noise

    def target(self, x: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        return noise - x

    def loss_weight(self, times: torch.Tensor, gamma: float | None) -> torch.Tensor:
        """All times count alike: the draws weigh them; min-SNR-γ is for noise prediction."""
        return torch.ones_like(times, dtype=torch.float32)


def objective_of(model: BaseModel) -> Objective:
    """The objective of a model's family."""
    if model.family.objective == "flow":
        return FlowObjective()
    return NoiseObjective(
        alphas=model.scheduler.alphas_cumprod.to(model.device),
        prediction=model.scheduler.config.prediction_type,
    )
