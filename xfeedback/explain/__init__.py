"""Explanations as pure functions on tensors."""

from xfeedback.explain.grad_cam import closed_form_grad_cam, grad_cam
from xfeedback.explain.gradient import gradient
from xfeedback.explain.outputs import Output, explained_output

__all__ = ["Output", "closed_form_grad_cam", "explained_output", "grad_cam", "gradient"]
