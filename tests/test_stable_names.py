"""The import paths and parameters that others rely on; docs/versions.md promises that they go on working."""

import importlib
import inspect

import pytest

PROMISED = {
    "kleash.maths.kl:kl_per_token": "logprob_BT reference_logprob_BT estimator",
    "kleash.maths.kl:FixedLeash": "beta",
    "kleash.maths.kl:AdaptiveLeash": "beta target_nats gain clip floor hold_updates",
    "kleash.maths.advantages:gae": "reward_BT value_BT mask_BT gamma lam",
    "kleash.maths.advantages:leave_one_out_advantage": "reward_PG",
    "kleash.maths.advantages:group_relative_advantage": "reward_PG eps ddof",
    "kleash.maths.masked:whiten": "x_BT mask_BT shift_mean",
    "kleash.maths.masked:masked_mean": "x_BT mask_BT",
    "kleash.maths.policy_losses:clipped_policy_loss": (
        "logprob_BT old_logprob_BT advantage_BT mask_BT clip_range dual_clip"
    ),
    "kleash.maths.policy_losses:clipped_value_loss": "value_BT old_value_BT return_BT mask_BT clip_range",
    "kleash.maths.bradley_terry:pair_loss": "chosen_N rejected_N label_N margin_N smoothing centring",
    "kleash.maths.bradley_terry:ranking_loss": "reward_K",
    "kleash.maths.bradley_terry:expected_calibration_error": "confidence correct num_bins",
    "kleash.maths.preference_losses:dpo_loss": "",
    "kleash.maths.preference_losses:ipo_loss": "",
    "kleash.maths.preference_losses:kto_loss": "",
    "kleash.maths.agreement:percent_agreement": "ratings_LN",
    "kleash.maths.agreement:cohen_kappa": "",
    "kleash.maths.agreement:fleiss_kappa": "",
    "kleash.maths.agreement:krippendorff_alpha": "ratings_LN level",
    "kleash.maths.agreement:gwet_ac1": "",
    "kleash.maths.intervals:wilson_interval": "",
    "kleash.maths.intervals:bootstrap_interval": "",
    "kleash.maths.intervals:win_rate": "",
    "kleash.evaluation.refusals:classify_refusal": "text",
    "kleash.evaluation.length_controlled:length_controlled_win_rate": (
        "wins length_differences difficulty num_resamples"
    ),
}


@pytest.mark.parametrize("place", PROMISED)
def test_a_promised_name_is_where_it_was_and_takes_what_it_took(place):
    module, _, name = place.partition(":")
    known = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    assert [parameter for parameter in PROMISED[place].split() if parameter not in known] == []
