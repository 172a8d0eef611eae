"""``mnist_cnn``: the MNIST network of Ismail et al. 2021, "Improving deep learning interpretability by saliency
guided training" (released code): two convolutions, one pooling and two dense layers.
"""  # noqa: D205

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from xfeedback.config import require
from xfeedback.errors import UserError
from xfeedback.models.base import InShape, ModelConfig


@dataclass(frozen=True, kw_only=True)
class MnistCnnConfig(ModelConfig):
    """Options of ``mnist_cnn``.

    Attributes:
        output: ``logits``; the released network ends in ``log_softmax``, which leaves cross-entropy as it is but
            changes the input gradient of the explained output.
        dropout_features: share of map entries dropped after the pooling.
        dropout_dense: share of hidden units dropped before the last layer.
    """

    name: Literal["mnist_cnn"] = "mnist_cnn"
    output: Literal["logits", "log_softmax"] = "logits"
    dropout_features: float = 0.25
    dropout_dense: float = 0.5

    def __post_init__(self) -> None:
        for option in ("dropout_features", "dropout_dense"):
            value = getattr(self, option)
            require(0 <= value < 1, option, value, "at least 0 and less than 1")


class MnistCnn(nn.Module):
    """3x3 convolutions to 32 and 64 channels without padding, 2x2 max-pooling, dense layers of 128 and N units.

    Each ReLU, pooling and dropout is a module used once, so that DeepLIFT and LRP can hook it. The dense layers follow
    the map directly, so Grad-CAM has no closed form here and shows less than with global average pooling.
    """

    explained_layer = "pool"
    gap_head: str | None = None

    def __init__(self, config: MnistCnnConfig, in_shape: InShape, n_classes: int) -> None:
        super().__init__()
        channels, height, width = in_shape
        self.conv1 = nn.Conv2d(channels, 32, 3)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.relu2 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.dropout1 = nn.Dropout(config.dropout_features)
        self.fc1 = nn.Linear(64 * ((height - 4) // 2) * ((width - 4) // 2), 128)
        self.relu3 = nn.ReLU()
        self.dropout2 = nn.Dropout(config.dropout_dense)
        self.fc2 = nn.Linear(128, n_classes)
        self.output = nn.LogSoftmax(dim=1) if config.output == "log_softmax" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to ``(B, N)``; the explained map is ``(B, 64, (H - 4) // 2, (W - 4) // 2)``."""
        maps = self.relu2(self.conv2(self.relu1(self.conv1(x))))
        hidden = self.relu3(self.fc1(self.dropout1(self.pool(maps)).flatten(1)))
        return self.output(self.fc2(self.dropout2(hidden)))


def build(config: MnistCnnConfig, in_shape: InShape, n_classes: int) -> MnistCnn:
    """Build the network; the dense layer fits the image size. 1,199,882 parameters at 1x28x28 and 10 classes.

    Raises:
        UserError: the image is smaller than 6x6.
    """
    if min(in_shape[1:]) < 6:
        raise UserError(f"model=mnist_cnn needs images of at least 6x6 pixels, not {in_shape[1]}x{in_shape[2]}")
    return MnistCnn(config, in_shape, n_classes)
