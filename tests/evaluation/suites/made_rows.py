"""Rows of items.jsonl, as short as tests want them."""


def made_row(id="a", *, passed=True, reference=None, suite="mine", bucket="tasks", measure="correct", **more):
    """One single-try row; reference: whether the reference passed, None where there is no reference."""
    row = {
        "id": id,
        "bucket": bucket,
        "suite": suite,
        "prompt": f"{id}?",
        "slices": {},
        "answer": "x",
        "passed": passed,
        "measure": measure,
        "detail": "",
        "tallies": {} if passed is None else {measure: [int(passed), 1]},
    }
    if reference is not None:
        row["reference_tallies"] = {measure: [int(reference), 1]}
    return {**row, **more}
