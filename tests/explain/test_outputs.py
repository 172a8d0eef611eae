import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from xfeedback.explain import explained_output

Z = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 3.0]], dtype=torch.float64)
TARGET = torch.tensor([2, 1])
AT = (np.arange(2), TARGET.numpy())


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("logit", Z.numpy()[AT]),
        ("centred", (Z.numpy() - Z.numpy().mean(1, keepdims=True))[AT]),
        ("prob", softmax(Z.numpy(), axis=1)[AT]),
        ("log_prob", log_softmax(Z.numpy(), axis=1)[AT]),
        ("sum_log_prob", log_softmax(Z.numpy(), axis=1).sum(1)),
    ],
)
def test_explained_output_against_scipy(kind, expected):
    found = explained_output(Z, TARGET, kind)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("kind", ["prob", "logit", "centred", "log_prob", "sum_log_prob"])
def test_half_precision_logits_are_explained_in_float32(kind):
    half = (1e4 * Z).bfloat16()
    found = explained_output(half, TARGET, kind)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found, explained_output(half.float(), TARGET, kind), rtol=0, atol=0)
