"""Explanations as pure functions on tensors, and :class:`Explained`, which makes maps of any of them by name.

``target`` is always the explained class of each sample ``(B,)``, maps have the shape of what they explain. What takes
long to import is imported when it is first used.

>>> import torch
>>> x = torch.tensor([[1.0, 2.0]], requires_grad=True)
>>> gradient(explained_output(x @ torch.eye(2), torch.tensor([1]), "logit"), x)
tensor([[0., 1.]])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from xfeedback.explain.grad_cam import closed_form_grad_cam, grad_cam
from xfeedback.explain.gradient import gradient
from xfeedback.explain.outputs import Output, explained_output

if TYPE_CHECKING:
    from xfeedback.explain.attribution import integrated_gradients, occlusion
    from xfeedback.explain.compare import explanation_distance
    from xfeedback.explain.deeplift import deep_shap
    from xfeedback.explain.lime import Lime
    from xfeedback.explain.maps import evaluation_cam, evaluation_gradient
    from xfeedback.explain.sampled import gradient_shap, smoothgrad
    from xfeedback.explain.scored import Explained

__all__ = [
    "Explained",
    "Lime",
    "Output",
    "closed_form_grad_cam",
    "deep_shap",
    "evaluation_cam",
    "evaluation_gradient",
    "explained_output",
    "explanation_distance",
    "grad_cam",
    "gradient",
    "gradient_shap",
    "integrated_gradients",
    "occlusion",
    "smoothgrad",
]

_HOMES = {
    "Explained": "scored",
    "Lime": "lime",
    "deep_shap": "deeplift",
    "evaluation_cam": "maps",
    "evaluation_gradient": "maps",
    "explanation_distance": "compare",
    "gradient_shap": "sampled",
    "integrated_gradients": "attribution",
    "occlusion": "attribution",
    "smoothgrad": "sampled",
}


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
