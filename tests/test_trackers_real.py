"""The trackers elsewhere, with the real libraries and local stores: what they hold after a run that was resumed."""

import pytest

from kleash.tracking import open_trackers

ALARM = ("alarm/kl", "KL is 5.2 nats, three times its target.\n# not a heading")
METRICS = {"loss": 2.0, "slice/topic=sums (hard)/score_mean": 1.5, "note": "no number", "gone": float("nan")}


def run_twice(folder, name):
    """Log steps 0 to 3, be killed, go on from step 2: as every stage does."""
    for steps in ([0, 1, 2, 3], [2, 3, 4]):
        tracker = open_trackers(folder, names=[name], run_name="quickstart/round-000/policy")
        tracker.cut(steps[0])
        for step in steps:
            tracker.log(step, METRICS | {"loss": step * 2.0})
        tracker.note(steps[-1], *ALARM)
        tracker.close()


def test_tensorboard_holds_each_step_once_and_the_alarm(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run_twice(tmp_path, "tensorboard")
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(step, step * 2.0) for step in range(5)]
    assert events.Tags()["scalars"] == ["loss", "slice/topic=sums (hard)/score_mean"]
    (alarm,) = [event for event in events.Tensors("alarm/kl/text_summary") if event.step == 4]
    # Four spaces make it a block of code: model text in an alarm is no Markdown of ours.
    assert alarm.tensor_proto.string_val == [b"    KL is 5.2 nats, three times its target.\n    # not a heading"]


@pytest.mark.slow
def test_wandb_keeps_one_offline_run_with_its_metrics(tmp_path, monkeypatch):
    for name, value in {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    run_twice(tmp_path, "wandb")
    identity = (tmp_path / "work" / "wandb-id.txt").read_text()
    logs = sorted((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert logs
    assert {log.stem for log in logs} == {f"run-{identity}"}
    # W&B's log holds names and values in the clear.
    content = b"".join(log.read_bytes() for log in logs)
    for expected in (b"quickstart/round-000/policy", b"slice/topic=sums (hard)/score_mean", ALARM[1][:20].encode()):
        assert expected in content


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own database layer warns about itself
def test_mlflow_holds_every_step_and_the_alarm_in_one_run(tmp_path, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    run_twice(tmp_path, "mlflow")
    client = mlflow.MlflowClient()
    (run,) = client.search_runs(["0"])
    assert run.info.run_name == "quickstart/round-000/policy"
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"loss": 8.0, "slice/topic.sums _hard_/score_mean": 1.5}
    history = {(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "loss")}
    assert history == {(step, step * 2.0) for step in range(5)}
    assert run.data.tags["alarm/kl"] == f"update 4: {ALARM[1]}"
