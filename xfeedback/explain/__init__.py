"""Explanations as pure functions on tensors, and :class:`Explained`, which makes maps of any of them by name.

``target`` is always the explained class of each sample ``(B,)``, maps have the shape of what they explain. What takes
long to import is imported when it is first used.

>>> import torch
>>> x = torch.tensor([[1.0, 2.0]], requires_grad=True)
>>> gradient(explained_output(x @ torch.eye(2), torch.tensor([1]), "logit"), x)
tensor([[0., 1.]])
"""

from typing import TYPE_CHECKING

from xfeedback.explain.grad_cam import closed_form_grad_cam, grad_cam
from xfeedback.explain.gradient import gradient
from xfeedback.explain.outputs import Output, explained_output
from xfeedback.lazy import lazy

if TYPE_CHECKING:
    from xfeedback.explain.attribution import integrated_gradients, occlusion
    from xfeedback.explain.cams import activation_norm, grad_cam_plus_plus, hires_cam, layer_cam, score_cam
    from xfeedback.explain.compare import explanation_distance
    from xfeedback.explain.deeplift import deep_shap
    from xfeedback.explain.guided import guided_backprop
    from xfeedback.explain.lime import Lime
    from xfeedback.explain.maps import evaluation_cam, evaluation_gradient
    from xfeedback.explain.sampled import gradient_shap, smoothgrad
    from xfeedback.explain.scored import Explained

__all__ = [
    "Explained",
    "Lime",
    "Output",
    "activation_norm",
    "closed_form_grad_cam",
    "deep_shap",
    "evaluation_cam",
    "evaluation_gradient",
    "explained_output",
    "explanation_distance",
    "grad_cam",
    "grad_cam_plus_plus",
    "gradient",
    "gradient_shap",
    "guided_backprop",
    "hires_cam",
    "integrated_gradients",
    "layer_cam",
    "occlusion",
    "score_cam",
    "smoothgrad",
]

__getattr__, __dir__ = lazy(
    __name__,
    attribution=("integrated_gradients", "occlusion"),
    cams=("activation_norm", "grad_cam_plus_plus", "hires_cam", "layer_cam", "score_cam"),
    compare=("explanation_distance",),
    deeplift=("deep_shap",),
    guided=("guided_backprop",),
    lime=("Lime",),
    maps=("evaluation_cam", "evaluation_gradient"),
    sampled=("gradient_shap", "smoothgrad"),
    scored=("Explained",),
)
