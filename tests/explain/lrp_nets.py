"""A network with all that LRP has to get through."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


class Residual(nn.Module):
    """Convolution, BatchNorm, a residual block with a functional sum, pooling of each kind, dropout, a linear layer."""

    def __init__(self, *, bias: bool = True, norm: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 6, 3, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(6) if norm else nn.Identity()
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1, bias=bias)
        self.conv3 = nn.Conv2d(6, 6, 3, padding=1, bias=bias)
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6 * 4, 4, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        a = self.pool(F.relu(self.norm(self.conv1(x)), inplace=True))
        b = F.relu(self.conv3(F.relu(self.conv2(a))) + a)
        return self.head(self.drop(F.adaptive_avg_pool2d(b, 2)).flatten(1))


def residual(seed: int = 0, **options: bool) -> nn.Module:
    torch.manual_seed(seed)
    network = Residual(**options).double()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.3, 0.3)
                module.running_mean.uniform_(-0.3, 0.3)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
    return network
