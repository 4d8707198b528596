"""Muon: an optimizer that gives every step of a weight matrix the same size in all directions.

K. Jordan and others, 2024 (https://kellerjordan.github.io/posts/muon/): the momentum of a matrix is
replaced by the nearest orthogonal one, found by Newton-Schulz iterations. Learns here in about half
the steps of AdamW. torch has it for plain matrices; a convolution is one matrix per group.
"""

from collections.abc import Iterable

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration, from the page above
ITERATIONS = 5
WIDE = 64


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay.

    A step has a root mean square of 0.2 per weight at a learning rate of one, about that of AdamW
    (J. Liu and others, 2025, https://arxiv.org/abs/2502.16982, section 2.2).
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        *,
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        bf16: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.bf16 = bf16

    @torch.no_grad()
    def step(self) -> None:
        """Move every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(state["momentum"], group["momentum"])
                matrices = as_matrices(ahead, getattr(weight, "groups", 1))
                if self.bf16 and min(matrices.shape[-2:]) >= WIDE:
                    matrices = matrices.bfloat16()  # small ones are no faster in it
                update = orthogonal(matrices).float()
                update *= 0.2 * max(update.shape[-2:]) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update.reshape(weight.shape), alpha=-group["lr"])


def as_matrices(weight: torch.Tensor, groups: int) -> torch.Tensor:
    """Return (groups, outputs of a group, inputs x height x width of a group)."""
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Return matrices (G, M, N) whose singular values are all about one (0.7 to 1.2)."""
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if is_tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if is_tall else x


def note_groups(model: torch.nn.Module) -> None:
    """Tell each convolution's weight how many groups it has; Muon treats each as a matrix."""
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.groups = module.groups
