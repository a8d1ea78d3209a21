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
from act3d.use.model_card import model_card, results_of
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
            self.meta = self.predictor.meta | results_of(known.path) | ({"licence": licence} if licence else {})

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
