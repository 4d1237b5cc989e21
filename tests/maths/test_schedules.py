import pytest

from kleash.errors import SettingsError
from kleash.maths.schedules import linear_decay


def test_the_rate_falls_in_equal_steps():
    assert [linear_decay(1.0, update=u, num_updates=4) for u in (1, 2, 3, 4)] == [1.0, 0.75, 0.5, 0.25]
    assert [linear_decay(2.0, update=u, num_updates=2, final_share=0.5) for u in (1, 2, 3, 9)] == [2.0, 1.5, 1.0, 1.0]


@pytest.mark.parametrize(("update", "num_updates"), [(0, 5), (1, 0)])
def test_updates_are_counted_from_one(update, num_updates):
    with pytest.raises(SettingsError, match=rf"Update {update} of {num_updates} has no rate, expected .*Count updates"):
        linear_decay(1.0, update=update, num_updates=num_updates)
