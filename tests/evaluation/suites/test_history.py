"""What broke since earlier rounds."""

from evaluation.suites.made_rows import made_row
from kleash.evaluation.suites.history import regression, with_history


def test_history_goes_on_from_round_to_round():
    first = [made_row("a", passed=True), made_row("b", passed=False)]
    second = with_history([made_row("a", passed=False), made_row("b", passed=None)], [("one", first)])
    third = with_history([made_row("a", passed=True), made_row("c")], [("two", second)])
    assert third[0]["history"] == [{"artifact": "one", "passed": True}, {"artifact": "two", "passed": False}]
    assert third[1]["history"] == []
    both_given = with_history([made_row("a")], [("one", first), ("two", second)])
    assert both_given[0]["history"] == third[0]["history"], "naming the older round as well changes nothing"


def test_newly_broken_items_are_named_and_newly_fixed_ones_counted():
    earlier = [made_row(name, passed=passed) for name, passed in zip("abcde", (1, 1, 0, 1, 0), strict=True)]
    now = [
        made_row("a", passed=True),
        made_row("b", passed=False, detail="7; expected 8"),
        made_row("c", passed=True),
        made_row("d", passed=None),
        made_row("f", passed=False),
    ]
    found = regression(with_history(now, [("one", earlier)]))
    assert found["compared"] == 3
    assert found["newly_broken"] == 1
    assert found["newly_fixed"] == 1
    assert found["broken"] == [{"suite": "mine", "id": "b", "prompt": "b?", "detail": "7; expected 8"}]
    assert (found["kept"]["mine/kept"]["value"], found["kept"]["mine/kept"]["n"]) == (0.5, 2)


def test_an_item_is_compared_with_the_last_time_it_could_be_checked():
    first, second = [made_row("a", passed=True)], [made_row("a", passed=None)]
    now = with_history([made_row("a", passed=False)], [("one", first), ("two", second)])
    assert regression(now)["newly_broken"] == 1


def test_the_same_id_in_another_suite_is_another_item():
    now = with_history([made_row("a", suite="other", passed=False)], [("one", [made_row("a", passed=True)])])
    assert regression(now)["compared"] == 0
