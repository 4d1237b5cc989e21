"""Model folders before anything is loaded: where they are, whether they hold what they must, their tokenizer.

Only safetensors weights are read: a pickle runs whatever code its author put there. Loading the models themselves is
`causal_lm.py`'s and `heads.py`'s business.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypedDict, TypeVar

import torch
import transformers
from torch import Tensor

from kleash.beside import words_beside
from kleash.data.batches import TokenBatch
from kleash.durable import TEMPORARY, read_object, remembered_digest
from kleash.errors import KleashError, ModelError, RunError, memory_words
from kleash.models.precision import WEIGHTS, Precision

words = words_beside(__file__)
P = ParamSpec("P")
T = TypeVar("T")


class Loading(TypedDict, total=False):
    """How a model folder is loaded, whatever its role; passed on whole, so that no setting is lost on the way."""

    device: str | torch.device
    dtype: Precision
    gradient_checkpointing: bool
    trust_remote_code: bool
    eos_token: str | int | None
    turns: Literal["auto", "chat", "text"]
    system_prompt: str | None
    lora: Any  # models.lora.LoraSettings | None
    bases: Any  # models.shared_base.Bases | None


DEFAULT_LOADING: Loading = {"device": "auto", "dtype": "float32", "gradient_checkpointing": False, "turns": "auto"}
DEFAULT_LOADING |= {"trust_remote_code": False, "eos_token": None, "system_prompt": None, "lora": None, "bases": None}
NO_POSITION_LIMIT = 1 << 30
"""Stands for "as long as memory allows" where an architecture has no table of positions."""

_GENERATION_FILE = "generation_config.json"
_HUB_PREFIX = "hub:"
_HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.tiktoken", "*.txt", "*.jinja", "*.py"]
_OF_OTHERS = {"artifact.json", "trainer_state.json"}  # what made the model says so itself, elsewhere
_OLD_BUFFERS = (".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", ".inv_freq")
_LAYER_NUMBER = re.compile(r"\.\d+\.")  # a head's weights are not numbered, a layer's are
_TOKENIZER_FILES = ["tokenizer.*", "vocab.*", "spiece.model", "*.tiktoken", "tokenization_*.py"]


def find_model_folder(folder: str | Path) -> Path:
    """Return the local folder of a model, fetched first when it is named `hub:owner/name`.

    Raises ModelError when there is no such folder, when it is not a Hugging Face one, or when it has no safetensors.
    """
    name = str(folder)
    if name.startswith(_HUB_PREFIX):
        return _fetch_from_hub(name.removeprefix(_HUB_PREFIX))
    path = Path(folder)
    if not path.is_dir():
        raise ModelError(words("no_folder", path=path))
    if not (path / "config.json").is_file() and not (path / "adapter_config.json").is_file():
        raise ModelError(words("no_config", path=path))
    if not any(path.glob("*.safetensors")) and not (path / "adapter" / "adapter_config.json").is_file():
        pickles = sorted(file.name for pattern in ("*.bin", "*.pt", "*.pth") for file in path.glob(pattern))
        found = f"only pickled weights ({', '.join(pickles)})" if pickles else "no weights"
        raise ModelError(words("no_safetensors", path=path, found=found))
    for index in path.glob("*.index.json"):
        named = read_json(index).get("weight_map")
        stray = [name for name in (named.values() if isinstance(named, dict) else ()) if Path(str(name)).name != name]
        if stray:
            raise ModelError(words("stray_weights", index=index, stray=stray[0]))
    return path


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file of a model folder. Raises ModelError when it holds no object."""
    remedy = "Expected a JSON object of settings. Copy the file anew from where the model is from."
    return read_object(path, remedy=remedy, error=ModelError)


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """Return the folder's tokenizer. Raises ModelError when there is none, or none that can be read."""
    if not any(path for pattern in _TOKENIZER_FILES for path in folder.glob(pattern)):
        # transformers would go on with an empty tokenizer of the model's family.
        raise ModelError(words("no_tokenizer", folder=folder))
    try:
        return transformers.AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=trust_remote_code
        )
    except Exception as error:  # transformers raises OSError, ValueError, KeyError ... according to what is missing
        pieces = [path.name for path in folder.glob("*.model")]
        if pieces and not (folder / "tokenizer.json").is_file() and not find_spec("sentencepiece"):
            raise ModelError(words("needs_sentencepiece", folder=folder, piece=pieces[0])) from error
        raise ModelError(words("tokenizer_unread", folder=folder, error=error)) from error


def load_config(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """Return the model's configuration with every dropout at zero.

    With dropout the first PPO ratio would differ from 1. Raises ModelError for what transformers does not know.
    """
    try:
        config = transformers.AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=trust_remote_code
        )
    except Exception as error:  # as above
        version = transformers.__version__
        raise ModelError(words("config_unread", folder=folder, error=error, version=version)) from error
    for name, value in config.to_dict().items():
        if isinstance(value, float) and ("dropout" in name or "pdrop" in name or name.endswith("_drop")):
            setattr(config, name, 0.0)
    return config


def clear_model_errors(load: Callable[Concatenate[str | Path, P], T]) -> Callable[Concatenate[str | Path, P], T]:
    """Let a loader raise what a damaged or contradictory folder sets off inside transformers as a ModelError."""

    @wraps(load)
    def clear(folder: str | Path, *args: P.args, **settings: P.kwargs) -> T:
        try:
            return load(folder, *args, **settings)
        except Exception as error:  # any kind, by what is damaged: settings, tokenizer or weights
            if said := memory_words(error):
                raise RunError(said) from error
            if isinstance(error, KleashError):
                raise
            raise ModelError(words("unusable", folder=folder, kind=type(error).__name__, error=error)) from error

    return clear


def check_generation_settings(folder: Path, num_rows: int) -> None:
    """Refuse generation settings that cannot be read, or whose end-of-text ids no token has. Raises ModelError."""
    file = folder / _GENERATION_FILE
    named = read_json(file).get("eos_token_id") if file.is_file() else None
    ids = named if isinstance(named, list) else [] if named is None else [named]
    if named == [] or not all(type(token_id) is int and 0 <= token_id < num_rows for token_id in ids):
        raise ModelError(words("end_ids_unknown", file=file, named=named, num_rows=num_rows))


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device meant: "auto" is the graphics card where there is one."""
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def position_limit(config: Any, model: Any = None) -> int:
    """Return how many positions the model can tell apart, NO_POSITION_LIMIT when its configuration names no limit.

    model: some, such as RoBERTa's, number positions from after the padding's on, so that fewer are left.
    """
    tables = [] if model is None else [m for n, m in model.named_modules() if n.endswith("position_embeddings")]
    for table in tables:
        if getattr(table, "padding_idx", None) is not None:
            return int(table.num_embeddings - table.padding_idx - 1)
    text_config = config.get_text_config()
    for name in ("max_position_embeddings", "n_positions", "max_seq_len"):
        limit = getattr(text_config, name, None)
        if limit:
            return int(limit)
    return NO_POSITION_LIMIT


def check_length(batch: TokenBatch, max_positions: int) -> None:
    """Refuse a batch of more tokens than the model knows positions. Raises ModelError."""
    width = batch.ids_BS.shape[1]
    if width > max_positions:
        raise ModelError(
            f"A sequence of the batch has {width} tokens. Expected at most {max_positions}, the positions the model "
            "knows. Lower the limits on prompt and response tokens, or truncate the data."
        )


def choose_pad_id(tokenizer: Any, eos_ids: tuple[int, ...], vocabulary_size: int) -> int:
    """Return an id that fills padding and is never an EOS; masks come from lengths, so any other id will do.

    Preferred: the tokenizer's own pad, an embedding row that no token uses, the unknown token; else the last id, the
    rarest merge of most tokenizers. The embedding is never resized.
    """
    taken = {*eos_ids, tokenizer.eos_token_id}
    unused = len(tokenizer) if len(tokenizer) < vocabulary_size else None
    candidates = (tokenizer.pad_token_id, unused, tokenizer.unk_token_id)
    for candidate in (*candidates, *range(vocabulary_size - 1, -1, -1)):
        if candidate is not None and candidate < vocabulary_size and candidate not in taken:
            return int(candidate)
    raise ModelError(words("no_pad_id", size=vocabulary_size))


def resolve_eos_ids(folder: Path, config: Any, tokenizer: Any, eos_token: str | int | None) -> tuple[int, ...]:
    """Return the ids that end a text, the one that is written at the end of plain texts first.

    `eos_token`, a token or its id, overrides everything. Otherwise the folder's generation settings decide, as they do
    in transformers, then config.json, then the tokenizer (an encoder's separator counts); the tokenizer's own EOS comes
    first if it is among them. Raises ModelError when the token is unknown, or when nothing names an EOS.
    """
    if eos_token is not None:
        return (_known_id(tokenizer, eos_token),)
    generation_file = folder / "generation_config.json"
    generation = read_json(generation_file) if generation_file.is_file() else {}
    named = (generation.get("eos_token_id"), getattr(config.get_text_config(), "eos_token_id", None))
    for found in (*named, tokenizer.eos_token_id, tokenizer.sep_token_id):
        if found is not None:
            ids = [found] if isinstance(found, int) else list(found)
            return tuple(sorted(ids, key=lambda token_id: token_id != tokenizer.eos_token_id))
    raise ModelError(words("no_end_of_text"))


def knows_token(tokenizer: Any, token: str | int) -> bool:
    """Say whether a token, or an id, is in the tokenizer's vocabulary."""
    vocabulary = tokenizer.get_vocab()
    return token in vocabulary.values() if isinstance(token, int) else token in vocabulary


def copy_model_files(folder: Path, output_dir: Path) -> None:
    """Copy what makes a model folder: weights, settings, tokenizer, licence; no pickles, nor what else lies there."""
    for pattern in (*_HUB_FILES, "additional_chat_templates/*.jinja", "LICENSE*", "LICENCE*"):
        for file in folder.glob(pattern):
            if file.is_file() and file.name not in _OF_OTHERS:
                _refuse_stray_link(file, folder)
                copy = output_dir / file.relative_to(folder)
                copy.parent.mkdir(exist_ok=True)
                shutil.copyfile(file, copy)


def _refuse_stray_link(file: Path, folder: Path) -> None:
    """Refuse to copy what a link brings in from elsewhere; the hub's cache keeps its files one level up."""
    target, home = file.resolve(), folder.resolve()
    is_cache = home.parent.name == "snapshots" and target.is_relative_to(home.parent.parent / "blobs")
    if not target.is_relative_to(home) and not is_cache:
        raise ModelError(words("stray_link", file=file, target=target))


def weights_digest(folder: Path) -> str:
    """Return 16 hex digits over the folder's safetensors files, by name and content."""
    digests = {file.name: remembered_digest(file) for file in sorted(folder.glob("*.safetensors"))}
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:16]


def load_weights(
    model_class: Any,
    folder: Path,
    loading: Loading,
    *,
    may_lack: tuple[str, ...] = (),
    has_own_head: bool = True,
    num_labels: int | None = None,
) -> Any:
    """Load a folder's weights into one of transformers' Auto classes, in the precision's type and onto the device.

    may_lack: endings of weight names that are allowed to be absent.  has_own_head: False where the folder's head, or
    heads, may be left unread.  num_labels: of a classifier, where config.json does not say.
    Raises ModelError when the folder does not fit the class, lacks weights (those would be random), or holds weights
    that the model described by config.json has no place for (it would compute without them).
    """
    if (folder / _GENERATION_FILE).is_file():
        read_json(folder / _GENERATION_FILE)  # transformers would read it too, and not say which file was wrong
    config = load_config(folder, trust_remote_code=loading["trust_remote_code"])
    if num_labels is not None:
        config.num_labels = num_labels
    logging.getLogger("transformers.modeling_utils").addFilter(_is_no_padding_advice)
    try:
        with _quiet_transformers():
            model, report = model_class.from_pretrained(
                str(folder),
                config=config,
                dtype=WEIGHTS[loading["dtype"]],
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=loading["trust_remote_code"],
                output_loading_info=True,
            )
    except Exception as error:  # what transformers raises depends on the file that is wrong
        kind = model_class.__name__
        raise ModelError(words("not_loaded", config=config, folder=folder, kind=kind, error=error)) from error
    odd = sorted(name for name, weight in model.named_parameters() if not weight.isfinite().all())
    if odd:
        raise ModelError(words("not_finite", folder=folder, **_some(odd)))
    missing = sorted(name for name in report["missing_keys"] if not name.endswith(may_lack))
    if missing:
        raise ModelError(words("weights_missing", folder=folder, kind=model_class.__name__, **_some(missing)))
    unread = sorted(name for name in report["unexpected_keys"] if not name.endswith(_OLD_BUFFERS))
    if not has_own_head:
        unread = [name for name in unread if _LAYER_NUMBER.search(name)]
    if unread:
        raise ModelError(words("weights_unread", folder=folder, kind=type(model).__name__, **_some(unread)))
    return model.to(resolve_device(loading["device"]))


def _some(names: list[str]) -> dict[str, Any]:
    return {"number": len(names), "some": ", ".join(names[:3])}


def check_vocabulary(folder: Path, model: Any, tokenizer: Any) -> None:
    """Refuse a model whose tokenizer writes ids that it has no row for. Raises ModelError."""
    num_rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > num_rows:
        raise ModelError(words("too_few_rows", folder=folder, num_tokens=len(tokenizer), num_rows=num_rows))


def save_weights(model: Any, folder: Path, **settings: Any) -> None:
    """Write a transformers model as safetensors with its config.json, without its progress bars."""
    with _quiet_transformers():
        model.save_pretrained(str(folder), **settings)


def save_merged(model: Any, named_weights: Iterable[tuple[str, Tensor]], folder: Path) -> None:
    """Write a model in float32, with weights that may be computed one by one and are never all in memory.

    What is not the model's own float32 tensor lies in a file without a name, which nothing leaves behind.
    """
    own = {tensor.data_ptr() for tensor in model.state_dict().values()}
    folder.mkdir(parents=True, exist_ok=True)
    file, on_disk, weights = folder / f"weights{TEMPORARY}", dict[int, Tensor](), dict[str, Tensor]()
    for number, (name, tensor) in enumerate(named_weights):
        place = tensor.data_ptr() if tensor.data_ptr() in own else -1 - number  # names of one tensor stay one
        if place >= 0 and (tensor.dtype == torch.float32 or not tensor.is_floating_point()):
            weights[name] = tensor
            continue
        if place not in on_disk:
            mapped = torch.from_file(str(file), shared=True, size=tensor.numel())
            file.unlink()
            on_disk[place] = mapped.copy_(tensor.flatten()).view(tensor.shape)
        weights[name] = on_disk[place]
    save_weights(model, folder, state_dict=weights)
    config = read_json(folder / "config.json")
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float32"}, indent=2, sort_keys=True) + "\n")


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Silence transformers' own reports and progress bars: what they would say of trouble, we check and raise."""
    reports = transformers.utils.logging
    verbosity, shows_progress = reports.get_verbosity(), reports.is_progress_bar_enabled()
    reports.set_verbosity_error()
    reports.disable_progress_bar()
    try:
        yield
    finally:
        reports.set_verbosity(verbosity)
        if shows_progress:
            reports.enable_progress_bar()


def _is_no_padding_advice(record: logging.LogRecord) -> bool:
    """Drop the advice to pass an attention mask: padding on the right needs none, and batches always pad there."""
    return "We strongly recommend passing in an `attention_mask`" not in record.getMessage()


def _fetch_from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except Exception as error:  # no network, no such model, no permission: the hub's own words say which
        raise ModelError(words("not_fetched", name=name, error=error)) from error
    return find_model_folder(folder)


def _known_id(tokenizer: Any, token: str | int) -> int:
    if not knows_token(tokenizer, token):
        raise ModelError(words("token_unknown", token=token, own=tokenizer.eos_token, own_id=tokenizer.eos_token_id))
    return token if isinstance(token, int) else int(tokenizer.get_vocab()[token])
