"""The residual block that all our ResNets are made of."""

import torch
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm and a shortcut: ``relu(conv(relu(conv(x))) + shortcut(x))``.

    He et al. 2016, "Deep residual learning for image recognition", figure 5 left. Parameters are named as in
    torchvision. Each ReLU is a module of its own, used once and not in place, so that DeepLIFT and LRP can hook it.

    Args:
        in_channels: channels of the input ``(B, in_channels, H, W)``.
        out_channels: channels of the output ``(B, out_channels, ceil(H / stride), ceil(W / stride))``.
        stride: stride of the first convolution.
        shortcut: maps the input to the output's shape.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = shortcut
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output; see the class for the shapes."""
        inner = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(inner)) + self.downsample(x))


class PadShortcut(nn.Module):
    """Shortcut A of He et al. 2016: every ``stride``-th position, and zeros for the added channels; no parameters."""

    def __init__(self, added_channels: int, stride: int) -> None:
        super().__init__()
        self.added_channels = added_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C + added_channels, ceil(H / stride), ceil(W / stride))``."""
        return nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added_channels))


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Return shortcut B of He et al. 2016: a 1x1 convolution with BatchNorm."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))


@torch.no_grad()
def init_kaiming(network: nn.Module) -> None:
    """Draw the convolutions' weights from N(0, 2 / fan_out) as He et al. 2015 do; other layers keep PyTorch's."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
