import math

import pytest

from kleash.errors import SettingsError
from kleash.maths.schedules import rate_share


def shares(num_steps, **settings):
    return [rate_share(step, num_steps, **settings) for step in range(num_steps)]


def test_the_rate_falls_in_equal_steps():
    assert shares(4) == [1.0, 0.75, 0.5, 0.25]
    assert [rate_share(step, 2, final_share=0.5) for step in (0, 1, 2, 9)] == [1.0, 0.75, 0.5, 0.5]


def test_it_rises_before_it_falls():
    assert shares(5, warmup_share=0.4) == pytest.approx([1 / 3, 2 / 3, 1.0, 2 / 3, 1 / 3])
    assert shares(2, schedule="constant", warmup_share=0.5) == [0.5, 1.0]


def test_a_cosine_falls_slowly_at_both_ends():
    assert shares(4, schedule="cosine") == pytest.approx([1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2])
    assert rate_share(9, 4, schedule="cosine", final_share=0.2) == pytest.approx(0.2)


@pytest.mark.parametrize(("step", "num_steps"), [(-1, 5), (0, 0)])
def test_steps_are_counted_from_nought(step, num_steps):
    with pytest.raises(SettingsError, match=rf"Step {step} of {num_steps} has no rate, expected .*Count steps from 0"):
        rate_share(step, num_steps)
