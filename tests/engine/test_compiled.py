"""The compiled network: which methods may have it, that it is undone, and that it computes the same."""

import pytest
import torch

from tests.engine.small import small_spec
from tests.methods import tiny
from xfeedback import methods
from xfeedback.engine import compiled, train
from xfeedback.engine.compiled import Compiled
from xfeedback.engine.options import TrainerConfig
from xfeedback.errors import UserError

COMPILE = {"trainer": {"compile": True}}
YES = [name for name in methods.names() if methods.feedback_class(name).compiles]
NO = [name for name in methods.names() if name not in YES]


@pytest.mark.parametrize("name", NO)
def test_methods_that_look_into_layers_or_differentiate_twice_are_refused(name, tmp_path):
    with pytest.raises(UserError, match=rf"trainer.compile=true: method={name} .* Use trainer.compile=false\.$"):
        small_spec(tmp_path, method={name: {}}, **COMPILE)


def test_the_others_are_not(tmp_path):
    assert {"plain", "saliency_guided", "xai_increment", "mixup"} <= set(YES)
    assert small_spec(tmp_path, method={"mixup": {}}, **COMPILE).trainer.compile


def test_a_machine_without_a_compiler_is_told_so(monkeypatch):
    monkeypatch.setattr(compiled.shutil, "which", lambda _: None)
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler on a CPU"):
        train.check_devices(TrainerConfig(accelerator="cpu", compile=True))


def test_a_network_that_must_be_looked_into_is_refused():
    host = tiny.module(tiny.feedback("saliency_guided"))
    host.feedbacks[0].layers = ("features",)
    with pytest.raises(UserError, match="layer 'features' is looked into"):
        tiny.trained(host, epochs=1, callbacks=[Compiled()])


@pytest.mark.slow
@pytest.mark.parametrize("name", YES)
def test_a_compiled_network_trains_alike_and_is_itself_afterwards(name, monkeypatch):
    """Without the C++ compiler, which changes the last digits alone: traced, and differentiated ahead of time."""
    network = torch.nn.Module
    original = network.compile
    monkeypatch.setattr(network, "compile", lambda self: original(self, backend="aot_eager"))
    one, two = (tiny.module(tiny.feedback(name), kind="gapnet") for _ in range(2))
    torch._dynamo.reset()
    tiny.trained(one, epochs=1)
    tiny.trained(two, epochs=1, callbacks=[Compiled()])
    assert two.network._compiled_call_impl is None
    for key, value in tiny.state(one).items():
        torch.testing.assert_close(tiny.state(two)[key], value, rtol=1e-3, atol=1e-4)
