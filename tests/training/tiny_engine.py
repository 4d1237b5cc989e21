"""A local engine around a tiny model, and the real loop on it: what the engine's and the ranks' tests share."""

from kleash.algorithms.online import ONLINE_ALGORITHMS
from kleash.algorithms.policy_settings import CreditSettings, OptimiserSettings, PolicySettings
from kleash.loop import LoopComponents, LoopState, run_loop
from kleash.maths.kl import AdaptiveLeash
from kleash.models.causal_lm import load_language_model
from kleash.models.heads import ValueHead
from kleash.models.lora import LoraSettings
from kleash.models.reward_models import reward_model_from
from kleash.models.shared_base import Bases
from kleash.records import Prompt
from kleash.rollout.local import LocalGenerator
from kleash.testing import FakeScorer, ListTracker, ScriptedWatch
from kleash.training.local import LocalEngine
from kleash.training.optimiser import Optimiser
from kleash.training.ranks import Ranks
from timings import without_timings

PROMPTS = [Prompt("is the cat happy?"), Prompt("how big is the house?"), Prompt("why"), Prompt("two plus two is")]


def engine_of(
    folder, *, critic=None, lora=None, max_batch_tokens=64, temperature=1.0, ranks=None, loading=None, **adam
):
    """critic: None, "separate" or "shared".  adam: a large eps makes steps follow gradients' sizes."""
    ranks = ranks or Ranks()
    bases = Bases()
    how = {"device": "cpu", "lora": LoraSettings(rank=2) if lora else None, "bases": bases, **(loading or {})}
    policy = load_language_model(folder, **how)
    reference = load_language_model(folder, role="reference", is_trained=False, **how)
    heads = {
        None: lambda: None,
        "separate": lambda: reward_model_from(folder, seed=1, role="critic", **how),
        "shared": lambda: ValueHead(policy.model.config.hidden_size),
    }
    network = heads[critic]()
    adam = {"learning_rate": 1e-2, **adam, "ranks": ranks}
    optimisers = {"policy": Optimiser(policy.trainable_parameters(), **adam)}
    if network is not None:
        trained = network.named_parameters() if critic == "shared" else network.trainable_parameters()
        optimisers["critic"] = Optimiser(trained, **adam)
    return LocalEngine(
        policy,
        reference,
        network,
        optimisers=optimisers,
        temperature=temperature,
        max_batch_tokens=max_batch_tokens,
        ranks=ranks,
    )


def generator_of(engine):
    return LocalGenerator(engine.policy, max_new_tokens=8, temperature=engine.temperature)


def rollouts_of(engine, *, samples=2):
    return generator_of(engine).generate(PROMPTS, samples_per_prompt=samples, seed=3, policy_version=0)


def train(engine, *, name="ppo", steps=2, state=None, after_step=lambda state: None, texts=(), **changes):
    settings = {
        "algorithm": name,
        "steps": steps,
        "samples_per_prompt": 2,
        "epochs": 2,
        "minibatches": 2,
        "max_new_tokens": 8,
        "credit": CreditSettings(missing_eos_penalty=None),
        "optimiser": OptimiserSettings(learning_rate=1e-2),
    }
    settings = PolicySettings(**settings | changes)
    tracker = ListTracker()
    scorer = FakeScorer(lambda answer: float(answer.text.count("e")) - 0.1 * len(answer.token_ids))
    components = LoopComponents(generator_of(engine), scorer, engine, ScriptedWatch(), tracker, ONLINE_ALGORITHMS[name])
    begun = state or LoopState(0, AdaptiveLeash(0.1, 2.0, 0.2))
    share = len(PROMPTS) // engine.num_ranks
    own = PROMPTS[engine.rank * share : (engine.rank + 1) * share]
    final = run_loop(
        begun,
        components,
        settings,
        prompts=lambda step: own,
        seed=1,
        texts_to_keep=lambda step: texts,
        after_step=after_step,
    )
    return final, [without_timings(row) for row in tracker.rows]


def state_of(engine):
    """Weights and Adam's moments."""
    tensors, _ = engine.snapshot()
    return {name: tensor.clone() for name, tensor in tensors.items()}
