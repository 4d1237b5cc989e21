"""One rank of tiny training runs and of a whole tiny round; `test_ranks.py` starts it as torchrun would."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from kleash.stages.context import ModelSettings, StageContext
from kleash.training.ranks import join_ranks
from stages.tiny_recipe import TinyRound, tiny_recipe, write_data
from training.tiny_engine import engine_of, state_of, train

if __name__ == "__main__":
    folder, out = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    ranks = join_ranks()
    for name, critic in (("ppo", "separate"), ("grpo", None)):
        engine = engine_of(folder, critic=critic, eps=1e-2, ranks=ranks)
        final, rows = train(engine, name=name, steps=3)
        save_file(state_of(engine), out / f"{name}-{engine.rank}.safetensors")
        (out / f"{name}-{engine.rank}.json").write_text(json.dumps({"beta": final.leash.beta, "rows": rows}))
    data = write_data(out / f"data-{ranks.rank}")
    context = StageContext(model=ModelSettings(device="cpu"), ranks=ranks)
    made = TinyRound(tiny_recipe(folder, data), out / "round", context).run()
    ids = {stage: artifact.id for stage, artifact in made.items()}
    (out / f"round-{ranks.rank}.json").write_text(json.dumps(ids))
