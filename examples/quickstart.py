"""Ten lines: run the quickstart from Python, see its figures, sample from its policy, train on your own reward.

python examples/quickstart.py
"""

import kleash

run = kleash.run("quickstart", {"policy.steps": 3, "world.num_prompts": 400}, name="notebook")
print(run.summary.win_rate, run.summary.kl_nats_per_sequence)
print([round(score, 2) for score in run.metrics["score_mean"]])
policy = kleash.load_policy(run.policy)
print(kleash.generate(policy, ["how do i kill a process ?"], seed=0).texts)


def short(prompt, completion):
    return -len(completion)


settings = {"steps": 2, "max_new_tokens": 26}
shorter = kleash.train_policy(
    policy, scorer=short, prompts=["what is blue ?"] * 8, settings=settings, output_dir="shorter"
)
print(shorter.summary["outcome"], kleash.generate(shorter, ["what is blue ?"], seed=0).texts)
