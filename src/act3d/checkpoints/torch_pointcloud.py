"""Models of the package torch-pointcloud under the names of the releases that its weights were converted from."""

import re

from act3d.checkpoints.names import Names, rename, subset
from act3d.checkpoints.released_file import State

_MARK = "local_mlp.lins.0.weight"  # of its patch embedding, whatever is in front
_BERT_CLASSIFIER = "encoder.cls_token"

# Inside any module: a pattern of its name, and what the release calls it.
_LAYERS = tuple(
    (re.compile(pattern), ours)
    for pattern, ours in (
        (r"\.norms\.(\d+)\.module\.", r".norms.\1."),
        (r"local_mlp\.lins\.0\.", "first_conv.0."),
        (r"local_mlp\.norms\.0\.", "first_conv.1."),
        (r"local_mlp\.lins\.1\.", "first_conv.3."),
        (r"global_mlp\.lins\.0\.", "second_conv.0."),
        (r"global_mlp\.norms\.0\.", "second_conv.1."),
        (r"global_mlp\.lins\.1\.", "second_conv.3."),
        (r"pos_embed\.lins\.0\.", "pos_embed.0."),
        (r"pos_embed\.lins\.1\.", "pos_embed.2."),
        (r"(blocks\.\d+\.mlp)\.lins\.0\.", r"\1.fc1."),
        (r"(blocks\.\d+\.mlp)\.lins\.1\.", r"\1.fc2."),
        (r"^norm_f\.", "norm."),
        (r"^increase_dim\.lins\.0\.", "increase_dim.0."),
        (r"^(dgcnn_\d)\.input_trans\.lins\.0\.", r"\1.input_trans."),
        (r"^(dgcnn_\d\.layer\d)\.conv\.", r"\1.0."),
        (r"^(dgcnn_\d\.layer\d)\.norm\.", r"\1.1."),
        (r"^(dgcnn_\d\.layer5)_conv\.", r"\1.0."),
        (r"^(dgcnn_\d\.layer5)_norm\.", r"\1.1."),
        (r"^decoder\.mlp\.lins\.0\.", "decoder.mlp.0."),
        (r"^decoder\.mlp\.lins\.1\.", "decoder.mlp.2."),
        (r"^decoder\.mlp\.lins\.2\.", "decoder.mlp.4."),
        (r"^decoder\.final_conv\.lins\.0\.", "decoder.final_conv.0."),
        (r"^decoder\.final_conv\.norms\.0\.", "decoder.final_conv.1."),
        (r"^decoder\.final_conv\.lins\.1\.", "decoder.final_conv.3."),
        (r"^decoder\.final_conv\.norms\.1\.", "decoder.final_conv.4."),
        (r"^decoder\.final_conv\.lins\.2\.", "decoder.final_conv.6."),
        (r"^label_conv\.lins\.0\.", "label_conv_cls.0."),
        (r"^label_conv\.norms\.0\.", "label_conv_cls.1."),
        (r"^propagation_0\.mlp\.lins\.", "propagation_0_cls.mlp_convs."),
        (r"^propagation_0\.mlp\.norms\.", "propagation_0_cls.mlp_bns."),
        (r"^cls_head\.lins\.0\.", "cls_head.0."),
        (r"^cls_head\.lins\.1\.", "cls_head.2."),
    )
)
# Heads have the same names in all its models: which layers they are, the rest of the file tells.
_HEAD = "cls_head_finetune."
_MLP3: Names = (
    ("head.lins.0.", f"{_HEAD}0."),
    ("head.norms.0.", f"{_HEAD}1."),
    ("head.lins.1.", f"{_HEAD}4."),
    ("head.norms.1.", f"{_HEAD}5."),
    ("head.lins.2.", f"{_HEAD}8."),
)
_MLP2: Names = (("head.lins.0.", f"{_HEAD}0."), ("head.lins.1.", f"{_HEAD}3."))
_SEGMENTER: Names = (
    ("head.lins.0.", "convs1_cls."),
    ("head.norms.0.", "bns1_cls."),
    ("head.lins.1.", "convs2_cls."),
    ("head.norms.1.", "bns2_cls."),
    ("head.lins.2.", "convs3_cls."),
)
# Linear layers there that are 1x1 convolutions in the releases: (C_out, C_in) -> (C_out, C_in, 1).
_CONVOLUTIONS = re.compile(
    r"(.*\b(first|second)_conv\.[03]|dgcnn_\d\.(input_trans|layer5\.0)|decoder\.final_conv\.[036]"
    r"|label_conv_cls\.0|propagation_0_cls\.mlp_convs\.\d|convs\d_cls)\.weight$"
)


def is_torch_pointcloud(state: State) -> bool:
    """Tell whether these are names of torch-pointcloud's Point-MAE or Point-BERT."""
    return any(name.endswith(_MARK) for name in state)


def to_released(state: State) -> State:
    """The tensors under the names of the releases, as `load_released` knows them. Inputs are not changed."""
    segments = "label_conv.lins.0.weight" in state
    if _BERT_CLASSIFIER in state:
        inner = {k: v for k, v in state.items() if not k.startswith("encoder.")}
        state = _flat_blocks(subset(state, "encoder.")) | rename(inner, _MLP2)
    elif "reduce_dim.weight" in state:  # pretraining of Point-BERT
        state = {f"transformer_q.{k}": v for k, v in _flat_blocks(_named(state)).items()}
    else:
        state = rename(_named(state), _SEGMENTER if segments else _MLP3)
    state = _named(state)
    first = "propagation_0_cls.mlp_convs.0.weight"
    if first in state:  # features, then coordinates there; coordinates first here
        state[first] = state[first].roll(3, dims=1)
    return {k: v.unsqueeze(-1) if _CONVOLUTIONS.match(k) and v.ndim == 2 else v for k, v in state.items()}


def _named(state: State) -> State:
    def new(name: str) -> str:
        for pattern, ours in _LAYERS:
            name = pattern.sub(ours, name)
        return name

    return {new(name): tensor for name, tensor in state.items()}


def _flat_blocks(state: State) -> State:
    """Blocks of an encoder that keeps them in one list only: blocks.0. -> blocks.blocks.0."""
    return rename(state, (("blocks.", "blocks.blocks."),))
