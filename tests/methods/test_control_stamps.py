"""Controls of explanations are stamped, so that a report names them apart from what they control."""

import pytest

from xfeedback import methods

CONTROLS = [
    ("saliency_guided", "mask_source", "random", "control=mask_random"),
    ("challenger", "map_source", "shuffled_active", "control=map_shuffled_active"),
    ("challenger", "map_source", "init_frozen", "control=map_init_frozen"),
    ("xai_increment", "mode", "trad", "control=mode_trad"),
    ("xai_increment", "mode", "same_class", "control=mode_same_class"),
]


@pytest.mark.parametrize(("method", "option", "value", "stamp"), CONTROLS)
def test_a_control_is_stamped(method, option, value, stamp):
    kind = methods.feedback_class(method)
    assert kind.with_options(**{option: value}).stamps == (stamp,)
    assert kind.with_options().stamps == ()
