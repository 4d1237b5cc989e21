"""The reference vectors, worked outside this package in double precision: every case, at their own tolerances."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from kleash.maths import advantages, kl, logprobs, masked, policy_losses

FIXTURE = Path(__file__).parents[1] / "fixtures" / "reference_vectors.json"
CASES: dict[str, Any] = json.loads(FIXTURE.read_text())["cases"]


def close(actual: Any, expected: Any) -> None:
    actual = torch.as_tensor(actual, dtype=torch.float64)
    torch.testing.assert_close(actual, torch.as_tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-10)


def row(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).unsqueeze(0)


def case(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return CASES[name]["inputs"], CASES[name]["expected"]


def test_gae_single():
    given, expected = case("gae_single")
    reward, value = row(given["rewards"]), row(given["values"])
    mask = torch.ones_like(reward, dtype=torch.bool)
    for name, gamma, lam, boot in [
        ("g1_l0.95", 1, 0.95, None),
        ("g0.99_l0.9", 0.99, 0.9, None),
        ("g1_l1_montecarlo", 1, 1, None),
        ("g1_l0_td", 1, 0, None),
        ("g1_l0.95_bootstrap0.8", 1, 0.95, torch.tensor([0.8], dtype=torch.float64)),
    ]:
        credit = advantages.gae(reward, value, mask, gamma=gamma, lam=lam, bootstrap_value_B=boot)
        close(credit.advantage_BT[0], expected[f"adv_{name}"])
        close(credit.return_BT[0], expected[f"ret_{name}"])


def test_ppo_policy_loss():
    given, expected = case("ppo_policy_loss")
    logprob = row(given["new_logp"]).requires_grad_()
    old, mask = row(given["old_logp"]), row(given["mask"]).bool()
    loss = policy_losses.clipped_policy_loss(logprob, old, row(given["advantages"]), mask, clip_range=given["clip"])
    close(loss.total / loss.count, expected["loss_masked_mean"])
    close(loss.num_clipped.double() / loss.num_tokens, expected["clipfrac_masked"])
    close(loss.approx_kl_total / loss.num_tokens, expected["approx_kl_k3"])
    close(loss.ratio_max, max(expected["ratio"][:5]))
    (loss.total / loss.count).backward()
    close(logprob.grad[0], expected["grad_wrt_new_logp"])
    close(masked.masked_mean(kl.kl_per_token(old, logprob), mask), expected["approx_kl_k1_old_minus_new"])
    k2 = kl.kl_per_token(old, logprob, estimator="k2")
    close(masked.masked_mean(k2, mask), expected["approx_kl_k2"])


def test_per_token_kl_reward():
    given, expected = case("per_token_kl_reward")
    logprob, reference = row(given["logp"]), row(given["ref_logp"])
    mask = torch.ones_like(logprob, dtype=torch.bool)
    score = torch.tensor([given["score"]], dtype=torch.float64)
    rewards = advantages.token_rewards(logprob, reference, score, mask, beta=given["kl_coef"])
    close(rewards[0], expected["token_rewards"])
    close(rewards.sum(), expected["sum_token_rewards"])
    close(kl.kl_per_token(logprob, reference)[0], expected["kl_k1_per_token"])
    close(kl.kl_per_sequence(logprob, reference, mask), [expected["sequence_kl_k1"]])


def test_whiten_published_example():
    given, expected = case("whiten_published_example")
    x = torch.tensor(given["x"], dtype=torch.float64)
    mask = torch.ones_like(x, dtype=torch.bool)
    close(masked.whiten(x, mask, shift_mean=False), expected["shift_mean_false_biased"])
    close(masked.whiten(x, mask), expected["shift_mean_true_biased"])
    unbiased = masked.whiten_with(x, mask, masked.masked_moments(x, mask), shift_mean=False, ddof=1)
    close(unbiased, expected["shift_mean_false_unbiased"])


def test_adaptive_kl_controller():
    given, expected = case("adaptive_kl_controller")
    code, paper = given["code"], given["paper"]
    for beta, gain, name in [
        (code["beta0"], code["n_steps"] / code["horizon"], "beta_code"),
        (paper["beta0"], paper["K_beta"], "beta_paper_K0.1"),
    ]:
        leash = kl.AdaptiveLeash(beta, target_nats=given["target"], gain=gain)
        betas = []
        for kl_nats in given["kl_sequence_mean"]:
            leash = leash.observe(kl_nats)
            betas.append(leash.beta)
        close(betas, expected[name])


def test_rloo_grpo_advantages():
    given, expected = case("rloo_grpo_advantages")
    reward = row(given["rewards_of_one_group"])
    close(advantages.leave_one_out_advantage(reward)[0], expected["rloo"])
    for name, eps, ddof in [
        ("grpo_std_ddof0_noeps", 0.0, 0),
        ("grpo_std_ddof1_noeps", 0.0, 1),
        ("grpo_trl_ddof1_eps1e-4", given["grpo_eps_trl"], 1),
        ("grpo_halos_ddof0_eps1e-2", given["grpo_eps_halos"], 0),
    ]:
        close(advantages.group_relative_advantage(reward, eps=eps, ddof=ddof)[0], expected[name])
    close(advantages.group_relative_advantage(reward, scale_by_sd=False)[0], expected["dr_grpo"])
    equal = torch.full_like(reward, 0.7)
    close(advantages.group_relative_advantage(equal, eps=1e-4, ddof=1), torch.zeros_like(equal))
    close(advantages.leave_one_out_advantage(equal), torch.zeros_like(equal))


@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.01])
def test_logprob_entropy_temperature(temperature):
    given, expected = case("logprob_entropy_temperature")
    logits = row(given["logits"]).repeat(4, 1)
    scored = logprobs.logprobs_and_entropy(logits, torch.arange(4), temperature=temperature)
    close(scored.entropy_N[0], expected["entropy_T1" if temperature == 1 else f"entropy_T{temperature}"])
    if temperature != 0.01:
        close(scored.logprob_N, expected["logprobs_T1" if temperature == 1 else f"logprobs_T{temperature}"])
