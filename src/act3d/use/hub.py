"""Models to and from the Hugging Face Hub: the native file, and a model card made from its header."""

from pathlib import Path
from typing import Any

from torch import nn

from act3d.checkpoints.hub_file import FILE, fetch
from act3d.checkpoints.native import read_header
from act3d.errors import MissingDependency
from act3d.files import write_text
from act3d.installing import how_to_install
from act3d.models.few_weights import merge_lora
from act3d.use.load import load, predictor_for, save
from act3d.use.predictor import Predictor

CARD = "README.md"


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
    path = Path(name) / FILE if Path(name).is_dir() else fetch(name, **options)
    return load(path, device)


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
        from huggingface_hub import ModelHubMixin
    except ImportError as error:
        raise MissingDependency(f"the Hub needs huggingface_hub: {how_to_install('hub')}") from error

    class HubModel(ModelHubMixin):
        """A model of act3d on its way to the Hub."""

        def __init__(self, model: nn.Module | Predictor[Any], licence: str = "") -> None:
            known = model if isinstance(model, Predictor) else predictor_for(model)
            merged = merge_lora(known.model)
            self.predictor = known if merged is known.model else predictor_for(merged, known.meta)
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

    return HubModel
