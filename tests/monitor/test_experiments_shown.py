"""Experiments in the monitor: found beside the runs, shown, and named when they cannot be read."""

import json

from kleash.monitor.pages.experiments import experiment_state, experiments_below, live_experiment

CONTENT = {
    "arms": [
        {
            "name": "ppo-biased",
            "seed": 0,
            "kind": "ppo",
            "points": [
                {"step": 10 * d, "kl_nats": float(d * d), "proxy": float(d), "gold": d - 0.4 * d * d} for d in range(4)
            ],
            "fit": {"a": 1.0, "b": 0.6, "form": "ppo"},
        }
    ],
    "criteria": [
        {
            "name": "C1",
            "text": "Proxy is linear",
            "passed": True,
            "figures": {"bend": 0.01},
            "seeds": {"0": {"passed": True}},
        },
        {"name": "C2", "text": "Gold falls", "passed": False, "figures": {}, "seeds": {"0": {"passed": False}}},
    ],
}


def write(folder, content):
    folder.mkdir(parents=True)
    (folder / "curves.json").write_text(json.dumps(content) if not isinstance(content, str) else content)


def test_an_experiment_is_found_beside_the_runs_and_shown(tmp_path):
    write(tmp_path / "overoptimisation", CONTENT)
    (tmp_path / "quickstart").mkdir()
    found = experiments_below(tmp_path)
    assert list(found) == ["overoptimisation"]
    live = live_experiment(found)
    assert list(live.figures) == ["biased", "leash", "shared"]  # the figures that this arm is in
    assert "1 of 2 criteria hold; C2 does not." in live.html["experiment"]
    assert live.html["experiment"].count('class="chart"') == 3


def test_another_experiment_is_shown_by_name_and_an_unknown_one_is_the_first(tmp_path):
    write(tmp_path / "a", CONTENT)
    write(tmp_path / "b", CONTENT | {"criteria": []})
    found = experiments_below(tmp_path)
    assert "No criterion could be judged." in live_experiment(found, "b").html["experiment"]
    assert live_experiment(found, "../a").html == live_experiment(found, "a").html


def test_the_folder_of_runs_may_be_an_experiment_itself(tmp_path):
    write(tmp_path / "mine", CONTENT)
    assert list(experiments_below(tmp_path / "mine")) == ["mine"]


def test_without_an_experiment_the_page_says_how_to_make_one(tmp_path):
    assert "kleash experiment overoptimisation" in live_experiment(experiments_below(tmp_path)).html["experiment"]


def test_a_file_that_is_something_else_is_named(tmp_path):
    write(tmp_path / "a", {"arms": [{"name": "ppo-biased"}], "criteria": []})
    write(tmp_path / "b", "{")
    found = experiments_below(tmp_path)
    assert "a/curves.json is not what the experiment writes: KeyError" in live_experiment(found, "a").html["experiment"]
    assert "Cannot read" in live_experiment(found, "b").html["experiment"]


def test_a_comparison_of_methods_is_an_experiment_as_well(tmp_path):
    standing = {
        "method": "dpo", "num_seeds": 1, "win_rate": 0.6, "win_rate_low": 0.55, "win_rate_high": 0.65, "seed_sd": 0.0,
        "gain": 0.2, "kl_nats": 4.0, "length_ratio": 1.0, "passes": 100.0, "passes_per_answer": 1.0, "seconds": 9.0,
        "peak_rss_mb": 500.0, "note": "1 epoch",
    }  # fmt: skip
    figures = {
        "kl_nats_per_sequence": {"value": 4.0},
        "judge_difference": {"value": 0.2},
        "win_rate": {"value": 0.6, "low": 0.55, "high": 0.65},
    }
    (tmp_path / "quickstart-methods").mkdir()
    content = {
        "recipe": "<b>mine", "judge": "gold", "advice": ["Use DPO."], "standings": [standing],
        "results": [{"method": "dpo", "seed": 0, "figures": figures}],
    }  # fmt: skip
    (tmp_path / "quickstart-methods" / "methods.json").write_text(json.dumps(content))
    write(tmp_path / "z", CONTENT)
    found = experiments_below(tmp_path)
    assert list(found) == ["quickstart-methods", "z"]
    live = live_experiment(found)
    assert list(live.figures) == ["frontier", "cost"]
    assert "<h2>Use DPO.</h2>" in live.html["experiment"]
    assert "Recipe &lt;b&gt;mine, judged by gold." in live.html["experiment"]


def test_new_curves_are_a_new_state(tmp_path):
    write(tmp_path / "a", CONTENT)
    before = experiment_state(experiments_below(tmp_path))
    write(tmp_path / "b", CONTENT)
    assert experiment_state(experiments_below(tmp_path)) != before
