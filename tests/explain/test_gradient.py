import pytest
import torch
from captum.attr import Saliency

from tests.explain.nets import images, small_cam
from xfeedback.explain import explained_output, gradient


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_gradient_equals_captum_saliency(dtype, tolerance):
    network = small_cam(dtype=dtype)
    x, y = images(dtype=dtype)
    inputs = x.clone().requires_grad_()
    found = gradient(explained_output(network(inputs), y, "logit"), inputs)
    expected = Saliency(network).attribute(x.clone().requires_grad_(), target=y, abs=False)
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))
    assert inputs.grad is None
    assert all(p.grad is None for p in network.parameters())


def test_a_loss_on_the_gradient_trains_the_network():
    """d/dW sum (dz_c/dx)^2 of a linear network is twice the row of the class, summed over the samples."""
    network = torch.nn.Linear(3, 2).double()
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0, 1, 1, 1])
    gradient(explained_output(network(x), y, "logit"), x, create_graph=True).square().sum().backward()
    counts = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    torch.testing.assert_close(network.weight.grad, 2 * counts * network.weight.detach(), rtol=1e-12, atol=0)


def test_without_graph_the_output_stays_usable():
    network = small_cam()
    x, y = images()
    inputs = x.requires_grad_()
    output = explained_output(network(inputs), y, "logit")
    first = gradient(output, inputs)
    assert not first.requires_grad
    torch.testing.assert_close(gradient(output, inputs), first, rtol=0, atol=0)
