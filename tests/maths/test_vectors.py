"""The reference vectors, worked outside this package in double precision: every case, at their own tolerances."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bandit import categorical_kl, tilted_policy
from kleash.data.batches import TokenSequence, token_batch
from kleash.maths import (
    advantages,
    agreement,
    best_of_n,
    bradley_terry,
    diagnostics,
    kl,
    logprobs,
    masked,
    overoptimisation,
    policy_losses,
    preference_losses,
)
from kleash.maths.schedules import rate_share

FIXTURE = Path(__file__).parents[1] / "fixtures" / "reference_vectors.json"
CASES: dict[str, Any] = json.loads(FIXTURE.read_text())["cases"]


def close(actual: Any, expected: Any) -> None:
    actual = torch.as_tensor(actual, dtype=torch.float64)
    torch.testing.assert_close(actual, torch.as_tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-10)


def row(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).unsqueeze(0)


def vector(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


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
    drift = policy_losses.policy_drift(logprob, old, mask)
    close(loss.num_clipped.double() / drift.num_tokens, expected["clipfrac_masked"])
    close(drift.approx_kl_total / drift.num_tokens, expected["approx_kl_k3"])
    close(drift.ratio_max, max(expected["ratio"][:5]))
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


def test_token_logprob_shift_and_mask():
    given, expected = case("token_logprob_shift_and_mask")
    logits, mask = row(given["logits"])[0], given["response_mask_on_tokens"]
    for num_prompt, name in ((1, "logprobs_of_tokens_1_to_5"), (mask.index(1), "response_token_logprobs")):
        sequence = TokenSequence(tuple(given["tokens"][:num_prompt]), tuple(given["tokens"][num_prompt:]))
        batch = token_batch([sequence], pad_id=0)
        _, position_N = batch.predicting_positions()
        scored = logprobs.logprobs_and_entropy(logits[position_N], batch.response_ids_N(), temperature=1.0).logprob_N
        scored = scored[: sum(mask)] if num_prompt > 1 else scored
        close(scored, expected[name])
    close(scored.sum(), expected["sequence_logprob"])
    close(scored.mean(), expected["mean_token_logprob"])


def test_kl_estimators_categorical():
    given, expected = case("kl_estimators_categorical")
    q, p = row(given["q_policy"]), row(given["p_reference"])
    close(categorical_kl(q.log(), p.log())[0], expected["exact_KL_q_p"])
    close(categorical_kl(p.log(), q.log())[0], expected["exact_KL_p_q"])
    for estimator in ("k1", "k2", "k3"):
        estimate = kl.kl_per_token(q.log(), p.log(), estimator=estimator)
        close(estimate[0], expected[estimator])
        close((q * estimate).sum(), expected[f"E_q_{estimator}"])


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_kl_estimators_tokens(estimator):
    given, expected = case("kl_estimators_tokens")
    logprob, reference = row(given["logp"]), row(given["ref_logp"])
    mask = torch.ones_like(logprob, dtype=torch.bool)
    close(kl.kl_per_token(logprob, reference, estimator=estimator)[0], expected[estimator])
    close(kl.kl_per_sequence(logprob, reference, mask, estimator=estimator)[0], expected[f"{estimator}_sum"])


def test_kl_gradient_placement():
    """The expected gradient over every action stands in for sampling."""
    given, expected = case("kl_gradient_placement")
    logits, reference = row(given["logits"]).requires_grad_(), row(given["ref_logits"]).log_softmax(-1)
    logprob = logits.log_softmax(-1)
    pi = logprob.detach().exp()
    close(pi[0], expected["pi"])
    mask = torch.ones_like(pi, dtype=torch.bool)
    reward = kl.kl_per_token(logprob, reference).detach()
    losses = {
        "grad_k1_in_reward": -policy_losses.reinforce_loss(logprob, reward, mask, weight_BT=pi).total,
        "grad_true_reverse_KL": categorical_kl(logprob, reference).sum(),
        "grad_true_forward_KL": categorical_kl(reference, logprob).sum(),
    }
    for estimator in ("k1", "k2", "k3"):
        loss = policy_losses.kl_loss(logprob, reference, mask, estimator=estimator, weight_BT=pi)
        losses[f"grad_{estimator}_in_loss"] = loss.total
    for name, loss in losses.items():
        (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
        close(gradient[0], expected[name])


def test_bradley_terry_loss():
    given, expected = case("bradley_terry_loss")
    chosen, rejected = vector(given["r_chosen"]).requires_grad_(), vector(given["r_rejected"]).requires_grad_()
    loss = bradley_terry.pair_loss(chosen, rejected)
    close(loss.total / loss.count, expected["loss"])
    (loss.total / loss.count).backward()
    close(chosen.grad, expected["grad_chosen"])
    close(rejected.grad, expected["grad_rejected"])
    each = [bradley_terry.pair_loss(c[None], r[None]).total for c, r in zip(chosen, rejected, strict=True)]
    close(torch.stack(each).detach(), expected["per_pair"])
    with_centring = bradley_terry.pair_loss(chosen, rejected, centring=given["center_coef"])
    for variant, name in [
        (bradley_terry.pair_loss(chosen, rejected, margin_N=vector(given["margin"])), "loss_with_margin"),
        (bradley_terry.pair_loss(chosen, rejected, smoothing=given["label_smoothing"]), "loss_label_smoothed"),
        (bradley_terry.pair_loss(chosen, rejected, label_N=vector(given["soft_label_p"])), "loss_soft_label"),
    ]:
        close((variant.total / variant.count).detach(), expected[name])
    close(((with_centring.total - loss.total) / loss.count).detach(), expected["center_penalty"])


def test_bt_numerical_stability():
    given, expected = case("bt_numerical_stability")
    chosen, rejected = vector(given["r_chosen"]).requires_grad_(), vector(given["r_rejected"])
    loss = bradley_terry.pair_loss(chosen, rejected)
    loss.total.backward()
    assert loss.total.item() == sum(expected["per_pair"])
    assert chosen.grad.tolist() == expected["grad_chosen_unreduced"]


def test_reward_normalisation():
    given, expected = case("reward_normalisation")
    samples = vector(given["rewards_on_reference_outputs"])
    moments = masked.masked_moments(samples, torch.ones_like(samples, dtype=torch.bool))
    close(
        [moments.mean, moments.sd(), moments.sd(ddof=1)], [expected[n] for n in ("mean", "std_biased", "std_unbiased")]
    )
    close([1 / moments.sd(), -moments.mean / moments.sd()], [expected["gain"], expected["bias"]])
    new = bradley_terry.normalise_reward(
        vector([given["new_reward"]]), mean=moments.mean, sd=moments.sd(), clip=given["clip"]
    )
    close(new.reward_B, [expected["z_new"]])
    centred = bradley_terry.normalise_reward(vector([given["new_reward"]]), mean=moments.mean, sd=1.0)
    close(centred.reward_B, [expected["bias_only_new"]])


def test_dpo_family():
    given, expected = case("dpo_family")
    policy_chosen, policy_rejected = (
        vector(given["pi_chosen"]).requires_grad_(),
        vector(given["pi_rejected"]).requires_grad_(),
    )
    chosen, rejected = policy_chosen - vector(given["ref_chosen"]), policy_rejected - vector(given["ref_rejected"])
    beta, smoothing, tau = given["beta"], given["label_smoothing"], given["ipo_tau"]
    loss = preference_losses.dpo_loss(chosen, rejected, beta=beta)
    (loss.total / loss.count).backward(retain_graph=True)
    close(policy_chosen.grad, expected["dpo_grad_wrt_pi_chosen"])
    close(policy_rejected.grad, expected["dpo_grad_wrt_pi_rejected"])
    close(loss.chosen_reward_N, expected["reward_chosen"])
    close(loss.rejected_reward_N, expected["reward_rejected"])
    lengths = {"chosen_length_N": vector(given["len_chosen"]), "rejected_length_N": vector(given["len_rejected"])}
    nothing = torch.zeros(4, dtype=torch.float64)
    for variant, name in [
        (loss, "dpo_loss"),
        (preference_losses.dpo_loss(chosen, rejected, beta=beta, label_smoothing=smoothing), "cdpo_loss"),
        (
            preference_losses.dpo_loss(chosen, rejected, beta=beta, label_smoothing=smoothing, robust=True),
            "robust_dpo_loss",
        ),
        (preference_losses.ipo_loss(chosen, rejected, tau=tau), "ipo_sum_loss"),
        (preference_losses.ipo_loss(chosen, rejected, tau=tau, **lengths), "ipo_length_normalised_loss"),
        (preference_losses.dpo_loss(nothing, nothing, beta=beta), "loss_at_init"),
        (preference_losses.ipo_loss(nothing, nothing, tau=tau), "ipo_loss_at_init"),
    ]:
        close((variant.total / variant.count).detach(), expected[name])


def test_kl_regularised_bandit_optimum():
    given, expected = case("kl_regularised_bandit_optimum")
    reference, reward = vector(given["pi_ref"]).log(), vector(given["reward"])
    for beta in given["betas"]:
        optimum, figures = tilted_policy(reference, reward, beta=beta), expected[f"beta_{beta:g}"]
        close(optimum.logprob_V.exp(), figures["pi_star"])
        close(optimum.kl_nats, figures["KL"])
        close(optimum.expected_reward, figures["E_reward"])
        close(optimum.objective, figures["objective"])
    ipo = expected[f"ipo_tau{given['ipo_tau']}_mu_ref"]
    win_prob = torch.sigmoid(reward[:, None] - reward[None, :]) @ reference.exp()
    close(win_prob, ipo["win_prob_vs_ref"])
    optimum = tilted_policy(reference, win_prob, beta=given["ipo_tau"])
    close(optimum.logprob_V.exp(), ipo["pi_star"])
    close(optimum.kl_nats, ipo["KL"])


def test_best_of_n():
    given, expected = case("best_of_n")
    close([best_of_n.best_of_n_kl(n) for n in given["n"]], expected["kl_bon_nats"])
    for n in given["estimator_n"]:
        close(best_of_n.expected_best_of_n(given["pool_of_rewards"], n), expected["unbiased_expected_max"][str(n)])


def test_gao_overoptimisation_curves():
    given, expected = case("gao_overoptimisation_curves")
    kl_nats = [d**2 for d in given["d"]]
    best = overoptimisation.fit_best_of_n(kl_nats, expected["R_bon"])
    rl = overoptimisation.fit_ppo(kl_nats, expected["R_rl"])
    for fit, curve, peak in [(best, "R_bon", "bon_peak"), (rl, "R_rl", "rl_peak")]:
        close([fit.a, fit.b], expected["lstsq_recovers_alpha_beta"])
        close([fit.gold(d) for d in given["d"]], expected[curve])
        close(fit.peak_distance, expected[f"{peak}_d"])
        close(fit.peak_value, expected[f"{peak}_R"])
        close(fit.r_squared, 1.0)
    close(best.gold(expected["bon_zero_d"]), 0.0)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval", "ratio"])
def test_krippendorff_alpha_published(level):
    given, expected = case("krippendorff_alpha_published")
    close(agreement.krippendorff_alpha(given["observers_x_units"], level=level), expected[level])


def test_fleiss_cohen_kappa():
    given, expected = case("fleiss_cohen_kappa")
    subjects = [[c for c, n in enumerate(counts) for _ in range(int(n))] for counts in given["fleiss_counts"]]
    ratings = np.array(subjects, dtype=float).T
    close(agreement.percent_agreement(ratings), expected["fleiss_P_bar"])
    close(agreement.fleiss_kappa(ratings), expected["fleiss_kappa"])
    table = given["cohen_table"]
    pairs = [(i, j) for i in range(2) for j in range(2) for _ in range(int(table[i][j]))]
    ratings = np.array(pairs, dtype=float).T
    close(agreement.percent_agreement(ratings), expected["cohen_po"])
    close(agreement.cohen_kappa(ratings), expected["cohen_kappa"])


def test_length_and_gold_correlation():
    given, expected = case("length_and_gold_correlation")
    length, rm, gold = given["length"], given["rm"], given["gold"]
    close(diagnostics.pearson_correlation(length, rm), expected["pearson_len_rm"])
    close(diagnostics.pearson_correlation(rm, gold), expected["pearson_rm_gold"])


@pytest.mark.parametrize("n", [1, 2, 3])
def test_repetition(n):
    given, expected = case("repetition")
    close(diagnostics.repeated_ngram_share(given["tokens"], n=n), expected[f"rep_{n}"])
    close(1 - diagnostics.repeated_ngram_share(given["tokens"], n=n), expected[f"distinct_{n}"])


def test_ppo_dual_clip():
    given, expected = case("ppo_dual_clip")
    for dual_clip, name in [(None, "standard"), (given["c"], "dual_clipped")]:
        losses = [
            policy_losses.clipped_policy_loss(
                row([ratio]).log(),
                row([0.0]),
                row([advantage]),
                torch.tensor([[True]]),
                clip_range=given["clip"],
                dual_clip=dual_clip,
            ).total
            for ratio, advantage in zip(given["ratio"], given["advantages"], strict=True)
        ]
        close(torch.stack(losses), expected[name])


def test_adam_eps_placement():
    """The optimiser is torch's: this pins the side of the square root its eps stands on."""
    given, expected = case("adam_eps_placement")
    x = torch.tensor(given["x0"], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([x], lr=given["lr"], betas=tuple(given["betas"]), eps=given["eps"])
    steps = []
    for gradient in given["grads"]:
        x.grad = torch.tensor(gradient, dtype=torch.float64)
        optimiser.step()
        steps.append(x.item())
    close(steps, expected["pytorch"])


def test_lr_linear_anneal():
    given, expected = case("lr_linear_anneal")
    num_updates = given["num_updates"]
    shares = [rate_share(update, num_updates) for update in range(num_updates)]
    # These are of the size of atol: compare their shares of the first.
    close(shares, [rate / given["lr"] for rate in expected["lr_per_update"]])


def test_every_case_has_a_test():
    assert {name for name in CASES if f"test_{name}" not in globals()} == set()
