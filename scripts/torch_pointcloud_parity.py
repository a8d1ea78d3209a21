"""What torch-pointcloud's models give for weights by a rule: python scripts/torch_pointcloud_parity.py OUT.npz

Run it in an environment of its own (pip install torch-pointcloud numpy); tests/parity/torch_pointcloud.npz was written
by version 0.0.18. Weights are not stored: `weights` draws them again from their names and shapes, here and in the test.
"""

import json
import sys
import zlib
from typing import Any

import numpy as np
import torch

CLOUDS, POINTS = 2, 256
SMALL: dict[str, Any] = {"embed_dim": 64, "depth": 2, "num_heads": 1, "num_groups": 16, "group_size": 32}


def weights(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """Draw every tensor from its name: small numbers, positive variances."""
    state = {}
    for name, shape in shapes.items():
        drawn = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1)
        elif name.endswith("running_var"):
            state[name] = torch.from_numpy(0.5 + np.abs(drawn))
        else:
            fan = shape[-1] if len(shape) < 4 else shape[1]
            state[name] = torch.from_numpy(drawn / np.float32(max(1, fan) ** 0.5 if len(shape) > 1 else 4))
    return state


def cloud() -> torch.Tensor:
    """Points (B, N, 3) inside the unit cube around 0."""
    return torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (CLOUDS, POINTS, 3)).astype(np.float32))


def search_without_pyg_lib() -> None:
    """Give the package farthest points and neighbours in plain PyTorch: PyPI has no wheels of pyg-lib."""
    from torch_pointcloud.models import point_bert
    from torch_pointcloud.ops import cluster

    def knn(x: Any, y: Any, k: int, batch_x: Any = None, batch_y: Any = None, **_: Any) -> torch.Tensor:
        far = torch.cdist(y.double(), x.double()) + 1e6 * (batch_y[:, None] != batch_x[None])
        found = far.topk(k, largest=False).indices  # (|y|, k)
        return torch.stack([torch.arange(len(y)).repeat_interleave(k), found.reshape(-1)])

    def fps(pos: Any, batch: Any, num_nodes: int, **_: Any) -> torch.Tensor:
        chosen = []
        for number in range(int(batch.max()) + 1):
            rows = (batch == number).nonzero()[:, 0]
            points, last, nearest = pos[rows], 0, torch.full((len(rows),), torch.inf)
            for _step in range(num_nodes):
                chosen.append(int(rows[last]))
                nearest = nearest.minimum((points - points[last]).square().sum(dim=1))
                last = int(nearest.argmax())
        return torch.tensor(chosen)

    cluster.knn, cluster.pool.knn, cluster.fps, point_bert.knn = knn, knn, fps, knn


def models() -> dict[str, Any]:
    """Small models of the package, by name."""
    from torch_pointcloud.models import point_bert as bert
    from torch_pointcloud.models import point_mae as mae

    pretraining = {k: v for k, v in SMALL.items() if k != "depth"} | {"encoder_depth": 2, "decoder_depth": 1}
    return {
        "point_bert_classifier": bert.PointBERTClassification(0, 5, **SMALL),
        "point_bert": bert.PointBERTPretraining(0, **SMALL, num_tokens=40, cls_dim=24),
        "dvae": bert.PointBERTDiscreteVAE(0, num_groups=16, num_tokens=40),
        "point_mae_classifier": mae.PointMAEClassification(0, 5, **SMALL),
        "point_mae": mae.PointMAEPretraining(0, **pretraining, decoder_num_heads=1),
        "part_segmenter": mae.PointMAEPartSegmentation(0, 7, num_categories=3, **{**SMALL, "depth": 12}),
    }


@torch.no_grad()
def outputs(name: str, model: Any, points: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a model gives for all patches, nothing hidden."""
    from torch_pointcloud.ops.cluster import group

    rows, batch = points.flatten(0, 1), torch.arange(CLOUDS).repeat_interleave(POINTS)
    if name == "part_segmenter":
        category = torch.nn.functional.one_hot(torch.tensor([2, 0]), 3).float()
        return {"logits": model(None, rows, batch, category).view(CLOUDS, POINTS, -1)}
    if name == "point_mae":  # its forward hides patches at random: the encoder's steps one by one
        neighborhoods, centers = group(rows, batch, 16, 32, random_start=False)
        encoder = model.MAE_encoder
        x = encoder.blocks(encoder.encoder(neighborhoods), encoder.pos_embed(centers))
        return {"patches": encoder.norm(x)}
    if name == "dvae":
        neighborhoods, centers = group(rows, batch, 16, 32, random_start=False)
        logits = model.dgcnn_1(model.encoder(neighborhoods), centers)
        features = model.dgcnn_2(model.codebook[logits.argmax(dim=2)], centers)
        coarse, fine = model.decoder(features)
        return {"logits": logits, "coarse": coarse, "fine": fine}
    found = model(None, rows, batch)
    return {"logits": found["logits"], "class": found["cls_feature"]} if name == "point_bert" else {"logits": found}


def main(out: str) -> None:
    """Write names, shapes and outputs of all models."""
    search_without_pyg_lib()
    arrays: dict[str, Any] = {}
    for name, model in models().items():
        shapes = {k: list(v.shape) for k, v in model.state_dict().items()}
        model.load_state_dict(weights(shapes))
        arrays[f"{name}.shapes"] = np.array(json.dumps(shapes))
        found = outputs(name, model.eval(), cloud())
        arrays |= {f"{name}.{key}": value.numpy() for key, value in found.items()}
    np.savez_compressed(out, **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
