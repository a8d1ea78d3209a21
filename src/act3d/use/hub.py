"""Models to and from the Hugging Face Hub: the native file, and a model card made from its header."""

from pathlib import Path
from typing import Any

from torch import nn

from act3d.checkpoints.native import read_header
from act3d.errors import CheckpointError, MissingDependency
from act3d.files import write_text
from act3d.installing import how_to_install
from act3d.use.load import load, predictor_for, save
from act3d.use.predictor import Predictor

FILE = "model.safetensors"
CARD = "README.md"


def hub_model(model: nn.Module | Predictor[Any]) -> Any:
    """A model with the methods of huggingface_hub's mixin: `save_pretrained`, `push_to_hub`, `from_pretrained`."""
    return _mixin()(model)


def save_pretrained(model: nn.Module | Predictor[Any], folder: str | Path, licence: str = "") -> Path:
    """Write a folder that the Hub understands: `model.safetensors` (native, whole) and a model card.

    Raises:
        MissingDependency: huggingface_hub is not installed.
    """
    holder = _mixin()(model, licence)
    holder.save_pretrained(str(folder))
    return Path(folder)


def push_to_hub(model: nn.Module | Predictor[Any], repository: str, licence: str = "", **options: Any) -> str:
    """Upload a model with its card to `OWNER/NAME`; options go to huggingface_hub (token, private, commit_message ...).

    Returns:
        Where it can be seen.
    """
    return str(_mixin()(model, licence).push_to_hub(repository, **options))


def from_pretrained(name: str, device: str | None = None, **options: Any) -> Predictor[Any]:
    """Load a model from the Hub (`OWNER/NAME`), or from a folder that `save_pretrained` wrote.

    Args:
        name: Repository or folder.
        device: Where to put it; CPU by default.
        options: For huggingface_hub: revision, token, cache_dir, local_files_only ...

    Raises:
        CheckpointError: There is no such repository or file, or no network.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        # The mixin would first ask for a config.json; ours is inside the weights.
        found: Predictor[Any] = _mixin()._from_pretrained(model_id=name, **options).predictor
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, FileNotFoundError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{name}: cannot be had from the Hub ({reason})") from error
    return found if device is None else found.to(device)


def model_card(header: dict[str, Any]) -> str:
    """The card of a native checkpoint in Markdown, from its header: data, protocol, results, licence, how to use it."""
    kind, meta = header["kind"], header.get("meta") or {}
    data = meta.get("data") or {}
    licence = meta.get("licence") or "not declared"
    known = {"mit", "apache-2.0", "cc-by-4.0", "cc-by-sa-4.0", "cc0-1.0"}
    tag = str(licence).lower().replace(" ", "-")
    front = ["---", "library_name: act3d", "tags: [point-cloud, 3d, act]"]
    front += [f"license: {tag}" if tag in known else "license: other", "---", ""]
    results = {k: v for k, v in meta.items() if isinstance(v, int | float) and k not in ("points", "seed", "scale")}
    results |= meta.get("metrics") or {}
    rows = [
        ("Kind", kind),
        ("Data", f"{data.get('name', 'not recorded')} (fingerprint `{data.get('fingerprint', 'none')}`)"),
        ("Points a cloud", meta.get("points", "not recorded")),
        ("Normalisation", f"{meta.get('normalization', 'not recorded')}, files' up axis {meta.get('source_up', '?')}"),
        ("Protocol", meta.get("protocol", "not recorded")),
        ("Licence of the data", licence),
        ("act3d", header.get("act3d", "")),
    ]
    text = [*front, f"# A 3D {kind} trained with act3d", ""]
    text += ["| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in rows), ""]
    if results:
        text += ["## Results", "", "| | |", "|---|---|", *(f"| {k} | {_cell(v)} |" for k, v in results.items()), ""]
    if meta.get("classes"):
        text += ["## Classes", "", ", ".join(map(_cell, meta["classes"])), ""]
    use = {"classifier": 'model.predict("chair.obj")', "segmenter": 'model.segment("chair.obj", category)'}
    use |= {"autoencoder": 'model.tokenize("chair.obj")'}
    call = use.get(kind, 'model.embed("chair.obj")')
    text += ["## Use", "", "```python", "import act3d", 'model = act3d.from_pretrained("OWNER/NAME")', call, "```", ""]
    text += ["## Architecture", "", "```", *(f"{k}: {v}" for k, v in header["config"].items()), "```", ""]
    return "\n".join(text)


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _mixin() -> Any:
    """The mixin's class; huggingface_hub is imported only here."""
    try:
        from huggingface_hub import ModelHubMixin, hf_hub_download
    except ImportError as error:
        raise MissingDependency(f"the Hub needs huggingface_hub: {how_to_install('hub')}") from error

    class HubModel(ModelHubMixin):
        """A model of act3d on its way to or from the Hub."""

        def __init__(self, model: nn.Module | Predictor[Any], licence: str = "") -> None:
            self.predictor = model if isinstance(model, Predictor) else predictor_for(model)
            self.meta = self.predictor.meta | ({"licence": licence} if licence else {})

        def _save_pretrained(self, save_directory: Path) -> None:
            path = save(self.predictor, save_directory / FILE, self.meta)
            write_text(save_directory / CARD, model_card(read_header(path)))

        def generate_model_card(self, *args: Any, **kwargs: Any) -> Any:
            """The card that was saved beside the weights; the mixin asks for it after saving."""
            from huggingface_hub import ModelCard

            model = self.predictor.model
            header = {"kind": model.kind, "config": model.config, "meta": self.meta}
            return ModelCard(model_card(header))

        @classmethod
        def _from_pretrained(cls, *, model_id: str, **options: Any) -> "HubModel":
            folder = Path(model_id)
            if folder.is_dir():
                return cls(load(folder / FILE))
            names = ("revision", "cache_dir", "force_download", "token", "local_files_only")
            kept = {name: options[name] for name in names if options.get(name) is not None}
            return cls(load(hf_hub_download(model_id, FILE, **kept)))

    return HubModel
