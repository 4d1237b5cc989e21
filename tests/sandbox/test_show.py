"""The examples of `kleash sandbox show`."""

from kleash.sandbox.show import examples, print_examples
from kleash.sandbox.world import SLICES


def test_every_slice_shows_answers_from_good_to_bad():
    rows = examples(seed=1)
    assert [row.topic for row in rows] == [topic for topic in SLICES for _ in range(4)]
    for topic in SLICES:
        gold = {row.manner: row.gold for row in rows if row.topic == topic}
        assert gold["good"] == 1.5 > gold["chatty"] > gold["flattering"]
        assert gold["bad"] <= -1
    assert all(abs(sum(row.parts.values()) - row.gold) < 1e-9 for row in rows)


def test_the_table_is_printed(capsys):
    print_examples(seed=1)
    printed = capsys.readouterr().out
    assert all(topic[:8] in printed for topic in SLICES)
