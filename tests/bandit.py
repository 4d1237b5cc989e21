"""A one-token world with a known optimum: four actions, a tabular policy, and generator and scorer for the real loop."""

import math
from dataclasses import dataclass

import torch

from kleash.data.batches import Rollouts, TokenSequence, derived_seed
from kleash.models.heads import ValueHead
from kleash.protocols import Scores, Verdict
from kleash.records import Prompt

REFERENCE = (0.4, 0.3, 0.2, 0.1)
REWARD = (0.0, 1.0, 0.5, 2.0)
OPTIMUM = (0.175121, 0.357021, 0.144363, 0.323495)
OPTIMUM_KL_NATS = 0.250205


@dataclass
class Seen:
    logprob_BT: torch.Tensor
    entropy_BT: torch.Tensor
    value_BT: torch.Tensor | None = None


class TabularPolicy(torch.nn.Module):
    """Looks like a LanguageModel to the engine; its logits are its only weights."""

    pad_id = 0
    is_autocast = False
    device = torch.device("cpu")

    def __init__(self, probabilities=REFERENCE):
        super().__init__()
        self.logits_V = torch.nn.Parameter(torch.tensor(probabilities).log())
        self.one = torch.ones(1, 1)

    def response_outputs(self, batch, *, temperature=1.0, value_head=None):
        logprob_V = torch.log_softmax(self.logits_V / temperature, dim=0)
        logprob_BT = logprob_V[batch.response_ids_N()][:, None]
        entropy_BT = -(logprob_V.exp() * logprob_V).sum().expand_as(logprob_BT)
        value_BT = None
        if value_head is not None:
            value_BT = value_head(self.one.expand(len(logprob_BT), 1))[:, None]
        return Seen(logprob_BT, entropy_BT, value_BT)

    def trainable_parameters(self):
        return self.named_parameters()

    def named_weights(self):
        return self.named_parameters()

    @property
    def probabilities(self):
        return torch.softmax(self.logits_V.detach(), dim=0)


class BanditGenerator:
    """Samples one action per prompt; the action ends the answer."""

    def __init__(self, policy):
        self.policy = policy

    def generate(self, prompts, *, samples_per_prompt, seed, policy_version):
        generator = torch.Generator().manual_seed(derived_seed(seed, policy_version))
        count = len(prompts) * samples_per_prompt
        action_B = torch.multinomial(self.policy.probabilities, count, replacement=True, generator=generator)
        logprob_BT = torch.log_softmax(self.policy.logits_V.detach(), 0)[action_B][:, None]
        return Rollouts(
            prompts=tuple(prompt for prompt in prompts for _ in range(samples_per_prompt)),
            sequences=tuple(TokenSequence((0,), (int(action),)) for action in action_B),
            texts=tuple(str(int(action)) for action in action_B),
            logprob_BT=logprob_BT,
            mask_BT=torch.ones(count, 1, dtype=torch.bool),
            is_finished_B=torch.ones(count, dtype=torch.bool),
            samples_per_prompt=samples_per_prompt,
            policy_version=policy_version,
        )

    def load_weights(self, named_weights, *, version):
        """The policy is shared with the engine."""


class BanditScorer:
    def score(self, completions):
        return Scores([REWARD[int(completion.text)] for completion in completions])


class NoWatch:
    def observe(self, step, rollouts, metrics):
        return Verdict()

    def state(self):
        return {}

    def load_state(self, state):
        """Nothing to remember."""


class ListTracker:
    def __init__(self):
        self.rows = []

    def log(self, step, metrics):
        self.rows.append({"step": step, **metrics})


def prompts(step, *, count):
    return [Prompt("pull")] * count


def value_head():
    return ValueHead(1)


def total_variation(probabilities):
    return 0.5 * sum(abs(float(p) - q) for p, q in zip(probabilities, OPTIMUM, strict=True))


def kl_nats(probabilities):
    return sum(float(p) * math.log(float(p) / q) for p, q in zip(probabilities, REFERENCE, strict=True))
