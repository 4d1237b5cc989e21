"""Collecting preferences: candidates go before raters through the label database, and the outcome is frozen."""

import json
import shutil
import threading
import time

import pytest

from kleash.collection.aggregation import AggregationSettings
from kleash.collection.campaign import CampaignSettings
from kleash.collection.store import campaigns as stored
from kleash.collection.store import tables
from kleash.collection.store.assignments import claim
from kleash.collection.store.calls import StoredCalls
from kleash.collection.store.judgements import exports_of, submit
from kleash.collection.store.raters import rater_named
from kleash.collection.store.recording import record
from kleash.errors import ArtifactError, DataError, RunError, SettingsError
from kleash.formats import read_judgements, read_preferences
from kleash.raters.drift import DriftSettings
from kleash.records import Completion, Judgement, Prompt, comparisons_of
from kleash.runs import settle_recipe
from kleash.stages.preferences import collect_preferences, import_preferences, open_store
from kleash.stages.support.comparing import Chosen, PreferencesSettings
from kleash.stages.support.scoring import build_comparer
from kleash.testing import FakeComparer
from raters.replay_server import Slow, Status, replaying, shown, verdict
from stages.tiny_recipe import tiny_context, tiny_recipe

PROMPT = Prompt("which?", {"topic": "x"})


def answer(text, prompt=PROMPT, policy="p"):
    return Completion(prompt, text, policy_id=policy)


def test_equal_answers_are_compared_once_and_a_lone_one_is_left_over():
    other = Prompt("who?")
    answers = [answer("a"), answer("b", policy="q"), answer("a", policy="q"), answer("c"), answer("x", other)]
    [pair] = comparisons_of(answers, num_completions=2)
    assert (pair.completions, pair.sources) == (("a", "b"), ("p", "q"))
    [three] = comparisons_of(answers, num_completions=3)
    assert three.completions == ("a", "b", "c")


def test_prompts_without_two_different_answers_are_refused():
    with pytest.raises(DataError, match=r"None of the 1 prompts has two different answers.*Raise candidates"):
        comparisons_of([answer("a"), answer("a")], num_completions=2)


def test_the_artifact_holds_every_judgement_and_one_row_per_comparison(made):
    artifact = made["preferences"]
    judgements = read_judgements(artifact.path / "judgements.jsonl").records
    rows = read_preferences(artifact.path / "preferences.jsonl").records
    figures = artifact.summary
    assert (len(judgements), len(rows)) == (figures["judgements"], figures["rows"]) == (30, 15)
    assert figures["raters"] == 2
    assert figures["agreement_interval"]["low"] <= figures["agreement"] <= figures["agreement_interval"]["high"]
    assert figures["ties"] == sum(pair.label == 0.5 for row in rows for pair in row.pairs)


def gather(made, folder, comparer, settings=None, **more):
    settings = settings or PreferencesSettings()
    database = open_store(settings, folder / "preferences")
    candidates = more.pop("candidates", made["candidates"])
    output_dir = folder / more.pop("name", "preferences")
    try:
        return collect_preferences(
            tiny_context(),
            settings,
            candidates=candidates,
            comparer=comparer,
            database=database,
            output_dir=output_dir,
            **more,
        )
    finally:
        database.close()


def test_a_comparer_is_asked_about_every_comparison(made, tmp_path):
    artifact = gather(made, tmp_path, FakeComparer(len, raters=("x", "y", "z")))
    assert (artifact.summary["judgements"], artifact.summary["agreement"]) == (45, 1.0)
    for row in read_preferences(artifact.path / "preferences.jsonl").records:
        lengths = [len(text) for text in row.completions]
        assert row.pairs[0].label == (lengths[0] > lengths[1]) + 0.5 * (lengths[0] == lengths[1])


def test_a_choice_of_comparisons_is_recorded_and_another_choice_is_refused(made, tmp_path):
    def first_ones(number):
        def choose(answers):
            return comparisons_of(answers, num_completions=2)[:number]

        return Chosen(choose, parents={"reward": made["reward"]}, settings={"selection": {"num_pairs": number}})

    artifact = gather(made, tmp_path, FakeComparer(len), chosen=first_ones(3))
    assert artifact.summary["rows"] == 3
    assert artifact.parents["reward"] == made["reward"].id
    assert artifact.settings["selection"] == {"num_pairs": 3}
    with pytest.raises(SettingsError, match=r"selection.num_pairs: 3 -> 4"):
        gather(made, tmp_path, FakeComparer(len), chosen=first_ones(4))
    fuller = gather(made, tmp_path, FakeComparer(len), chosen=first_ones(4), name="fuller")
    assert fuller.summary["rows"] == 4


def test_verdicts_go_through_the_store_and_know_where_they_went(made, tmp_path):
    artifact = gather(made, tmp_path, FakeComparer(len, raters=("x",)))
    database = open_store(PreferencesSettings(), tmp_path / "preferences")
    with database.read() as connection:
        [campaign] = stored.campaigns(connection)
        assert stored.progress(connection, campaign).num_done == 15
        assert exports_of(connection, "1") == [(artifact.id, str(tmp_path / "preferences"))]
    database.close()


def test_where_verdicts_went_is_noted_again_if_a_kill_came_before(made, tmp_path):
    artifact = gather(made, tmp_path, FakeComparer(len, raters=("x",)))
    database = open_store(PreferencesSettings(), tmp_path / "preferences")
    with database.write() as connection:
        for table in (tables.exported_judgements, tables.exports):
            connection.execute(table.delete())
        [campaign] = stored.campaigns(connection)
        items = stored.items(connection, campaign).values()
        record(connection, campaign, FakeComparer(len, raters=("late",)).compare([item.comparison for item in items]))
    assert gather(made, tmp_path, FakeComparer(len, raters=("x",))) == artifact
    with database.read() as connection:
        output_dir = str(tmp_path / "preferences")
        assert [exports_of(connection, str(number)) for number in (1, 15, 16)] == [[(artifact.id, output_dir)]] * 2 + [
            []
        ]
    database.close()


def test_an_interrupted_collection_asks_only_about_the_rest_and_ends_the_same(made, tmp_path):
    class Dying(FakeComparer):
        def compare(self, comparisons):
            for number, judgement in enumerate(super().compare(comparisons)):
                if number == 7:
                    raise KeyboardInterrupt
                yield judgement

    whole = gather(made, tmp_path / "whole", FakeComparer(len, raters=("x", "y", "z")))
    with pytest.raises(KeyboardInterrupt):
        gather(made, tmp_path / "cut", Dying(len, raters=("x", "y", "z")))
    assert gather(made, tmp_path / "cut", FakeComparer(len, raters=("x", "y", "z"))).files.keys() == whole.files.keys()
    for name in ("preferences.jsonl", "judgements.jsonl", "items.jsonl"):
        assert (tmp_path / "cut/preferences" / name).read_bytes() == (whole.path / name).read_bytes()


def label_all(folder, announced):
    """Be a person who labels everything that the run waits for, once it waits."""
    while not announced:
        time.sleep(0.05)
    database = open_store(PreferencesSettings(), folder / "preferences")
    with database.write() as connection:
        [campaign] = stored.campaigns(connection)
        rater = rater_named(connection, "anna", "person")
        while tasks := claim(connection, campaign, rater):
            [task] = tasks
            said = Judgement(task.comparison.id, "anna", "person", task.permutation, "ranked", (1, 2))
            submit(connection, campaign, task, rater, said, client_key=task.id)
    database.close()


def test_a_run_waits_for_people_and_goes_on(made, tmp_path):
    settings = PreferencesSettings(comparer="people", campaign=CampaignSettings(overlap=1))
    announced = []
    person = threading.Thread(target=label_all, args=(tmp_path, announced))
    person.start()
    artifact = gather(made, tmp_path, None, settings, announce=announced.append)
    person.join()
    assert artifact.summary["judgements"] == 15
    assert artifact.summary["raters"] == 1
    assert f"kleash collect serve --store {tmp_path / 'labels.sqlite'}" in announced[0]


def test_a_closed_campaign_is_not_waited_for(made, tmp_path):
    settings = PreferencesSettings(comparer="people")

    def close_it(message):
        database = open_store(settings, tmp_path / "preferences")
        with database.write() as connection:
            [campaign] = stored.campaigns(connection)
            stored.set_state(connection, campaign, "closed", actor="anna")
        database.close()

    with pytest.raises(RunError, match=r"was closed with 0 of 15 items labelled.*Open it again"):
        gather(made, tmp_path, None, settings, announce=close_it)


def test_ai_judges_label_a_run_and_nothing_is_asked_twice(made, tmp_path):
    file = tmp_path / "judges.toml"
    settings = PreferencesSettings(
        comparer="judges",
        judges=file,
        campaign=CampaignSettings(overlap=1),
        drift=DriftSettings(min_left=0),
        labels=AggregationSettings(accept_missing="a trial of the judge"),
    )

    def by_judges(name):
        database = open_store(settings, tmp_path / name)
        comparer = build_comparer(settings, seed=0, calls=StoredCalls(database))
        try:
            return collect_preferences(
                tiny_context(),
                settings,
                candidates=made["candidates"],
                comparer=comparer,
                database=database,
                output_dir=tmp_path / name,
                announce=said.append,
            )
        finally:
            database.close()

    said = []
    with replaying(lambda request: verdict("first" if len(shown(request)[1]) > 3 else "second")) as replay:
        file.write_text(f'[[judges]]\nbase_url = "{replay.base_url}"\nmodel = "m"\n[band]\nmin_n = 5\n')
        artifact = by_judges("preferences")
        asked = len(replay.requests)
        again = by_judges("once-more")
    assert artifact.summary["judgements"] == 0  # the judge prefers the first place, and is demoted for it
    assert "flip rate" in said[0]
    assert asked == len(replay.requests) == 2 * 15
    assert again.summary["rows"] == 15
    assert again.summary["accepted_missing"] == "a trial of the judge"
    assert "30 calls, 3,000 + 600 tokens in this run" in said[1]
    [row] = artifact.summary["judges"]
    assert (row["calls"], row["prompt_tokens"], row["reply_tokens"]) == (30, 3000, 600)


def by_judge(made, folder, reply, *, accept=None, word="preferences", model="m", more=""):
    """Have an endpoint label a run; reply: a function of the request.  more: of the judges file."""
    folder.mkdir(exist_ok=True)
    file = folder / "judges.toml"
    settings = PreferencesSettings(
        comparer="judges",
        judges=file,
        campaign=CampaignSettings(overlap=1),
        labels=AggregationSettings(accept_missing=accept),
    )
    database = open_store(settings, folder / word)
    try:
        with replaying(reply) as replay:
            file.write_text(
                f'[[judges]]\nbase_url = "{replay.base_url}"\nmodel = "{model}"\nmax_retries = 0\nmax_concurrency = 1\n'
                + more
            )
            return collect_preferences(
                tiny_context(),
                settings,
                candidates=made["candidates"],
                comparer=build_comparer(settings, seed=0, calls=StoredCalls(database)),
                database=database,
                output_dir=folder / word,
                announce=lambda line: None,
            )
    finally:
        database.close()


def prefers_longer(request):
    _, first, second = shown(request)
    return verdict("first" if (len(first), first) > (len(second), second) else "second")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "other"}, r"judges panel of 1 was edited since: digest \w+ -> \w+"),
        ({"more": 'rubric = "Longer is worse."\n'}, r"judges panel of 1 was edited since"),
        ({"more": "[band]\nmin_agreement = 0.9\n"}, r"band .*judges.toml was edited since: digest \w+ -> \w+"),
    ],
)
@pytest.mark.parametrize("dies", [False, True])
def test_a_judges_file_that_decides_otherwise_is_refused_by_name(made, tmp_path, change, said, dies):
    def mortal(request):
        return Status(401) if dies else prefers_longer(request)

    def first():
        return by_judge(made, tmp_path, mortal)

    if dies:
        with pytest.raises(RunError):
            first()
    else:
        first()
    with pytest.raises(SettingsError, match=said):
        by_judge(made, tmp_path, prefers_longer, **change)
    # What only costs otherwise may change, and the endpoint has moved each time.
    assert (
        by_judge(made, tmp_path, prefers_longer, more="max_calls = 1000\ntimeout_seconds = 5\n").summary["rows"] == 15
    )


def test_comparisons_without_an_answer_are_not_frozen_without_a_word(made, tmp_path):
    down = set()

    def half_down(request):
        down.add(min(shown(request)[1:])) if len(down) < 2 else None
        return Status(503) if set(shown(request)[1:]) & down else prefers_longer(request)

    with pytest.raises(
        DataError, match=r"Not frozen: m@\w+ was given no answer on \d comparisons.*Start the judges again"
    ):
        by_judge(made, tmp_path / "a", half_down)
    assert by_judge(made, tmp_path / "a", prefers_longer).summary["judgements"] == 15
    with pytest.raises(DataError):
        by_judge(made, tmp_path / "b", half_down)
    accepted = by_judge(made, tmp_path / "b", half_down, accept="the endpoint is gone").summary
    assert accepted["accepted_missing"] == "the endpoint is gone"
    assert sum(accepted["unanswered"].values()) == 15 - accepted["judgements"] > 0


class FlakyComparer:
    """A plug-in's comparer whose endpoint is down for some comparisons, and which forgets others altogether."""

    def __init__(self, *, down=(), silent=()):
        self.down, self.silent, self.num_asked = down, silent, 0

    def compare(self, comparisons):
        for index, one in enumerate(comparisons):
            self.num_asked += 1
            if index in self.down:
                yield Judgement(one.id, "plug-in", "ai", (0, 1), "skipped", flags=("failed",))
            elif index not in self.silent:
                yield Judgement(one.id, "plug-in", "ai", (0, 1), "ranked", (1, 2))


def test_a_plug_in_s_outages_are_counted_like_a_judge_s(made, tmp_path):
    flaky = FlakyComparer(down=range(3), silent=(7,))
    said = r"plug-in was given no answer on 3 comparisons; the comparer was given no answer on 1 comparisons"
    with pytest.raises(DataError, match=rf"Not frozen: {said}.*labels\.accept_missing"):
        gather(made, tmp_path, flaky)
    assert flaky.num_asked == 15 + 3
    settings = PreferencesSettings(labels=AggregationSettings(accept_missing="it is gone"))
    accepted = gather(made, tmp_path, FlakyComparer(down=range(3), silent=(3,)), settings).summary
    assert accepted["unanswered"] == {"plug-in": 3, "the comparer": 1}
    assert accepted["accepted_missing"] == "it is gone"


def test_a_plug_in_that_recovers_is_missing_nothing(made, tmp_path):
    with pytest.raises(DataError):
        gather(made, tmp_path, FlakyComparer(down=range(3)))
    whole = gather(made, tmp_path, FlakyComparer()).summary
    assert (whole["judgements"], whole.get("unanswered", {})) == (15, {})


def test_the_word_may_be_given_to_a_run_under_way(base, data, tmp_path):
    settle_recipe(tmp_path, tiny_recipe(base, data))
    settle_recipe(tmp_path, tiny_recipe(base, data, preferences={"labels": {"accept_missing": "it is gone"}}))
    with pytest.raises(SettingsError, match=r"preferences\.labels\.min_agreement"):
        settle_recipe(tmp_path, tiny_recipe(base, data, preferences={"labels": {"min_agreement": 0.5}}))


def test_the_same_verdicts_have_the_same_id_however_long_they_took(made, tmp_path):
    slow = by_judge(made, tmp_path / "run", lambda request: Slow(0.02, prefers_longer(request)))
    shutil.rmtree(tmp_path / "run")
    assert by_judge(made, tmp_path / "run", prefers_longer).id == slow.id


def test_more_judges_than_places_are_refused(tmp_path):
    one = '[[judges]]\nbase_url = "http://127.0.0.1:1/v1"\n'
    (tmp_path / "judges.toml").write_text(f'{one}model = "a"\n{one}model = "b"\n')
    settings = PreferencesSettings(
        comparer="judges", judges=tmp_path / "judges.toml", campaign=CampaignSettings(overlap=1)
    )
    with pytest.raises(SettingsError, match=r"names 2 judges, and .*overlap is 1.*Set the overlap to 2"):
        build_comparer(settings, seed=0)
    with pytest.raises(SettingsError, match=r"preferences.judges is not set.*Set it"):
        build_comparer(PreferencesSettings(comparer="judges"), seed=0)


def test_a_rubric_of_ones_own_is_shown(made, tmp_path):
    (tmp_path / "rubric.md").write_text("Shorter is better.")
    gather(made, tmp_path, FakeComparer(len), PreferencesSettings(rubric=tmp_path / "rubric.md"))
    database = open_store(PreferencesSettings(), tmp_path / "preferences")
    with database.read() as connection:
        [campaign] = stored.campaigns(connection)
    database.close()
    assert campaign.rubric == "Shorter is better."
    (tmp_path / "rubric.md").write_text("Longer is better.")
    with pytest.raises(SettingsError, match=r"rubric .*rubric.md was edited since: digest \w+ -> \w+"):
        gather(made, tmp_path, FakeComparer(len), PreferencesSettings(rubric=tmp_path / "rubric.md"))
    with pytest.raises(SettingsError, match=r"Cannot read preferences.rubric: .*nothing.md"):
        gather(made, tmp_path, FakeComparer(len), PreferencesSettings(rubric=tmp_path / "nothing.md"), name="p2")


def test_only_candidates_are_compared(made, tmp_path):
    with pytest.raises(ArtifactError, match="is of kind policy, but candidates is needed here"):
        gather(made, tmp_path, FakeComparer(len), candidates=made["sft"])


def test_a_file_of_preferences_is_frozen_as_it_was_read(tmp_path):
    file = tmp_path / "file.jsonl"
    file.write_text(json.dumps({"prompt": "which?", "chosen": "a", "rejected": "b"}) + "\n")
    artifact = import_preferences(tiny_context(), PreferencesSettings(), file=file, output_dir=tmp_path / "preferences")
    [row] = read_preferences(artifact.path / "preferences.jsonl").records
    assert (row.completions, row.pairs[0].label) == (("a", "b"), 1.0)
    assert (artifact.summary["pairs"], artifact.summary["agreement"]) == (1, None)
    assert artifact.kind == "preferences"
