import numpy as np
import pytest
import torch

from act3d.data.clouds import CloudDataset
from act3d.errors import InputError
from act3d.evaluation.features import embed, flatten_map, plain_features


class Clouds(CloudDataset):
    def __init__(self, labels):
        super().__init__(normalization="none")
        self.name, self.points = "clouds", 8
        self.labels = np.array(labels, dtype=np.int64)
        self.names = [str(i) for i in range(len(labels))]

    def read(self, rows, epoch):
        values = rows.astype(np.float32) + 100 * epoch
        return np.tile(values[:, None, None], (1, self.points, 3)), None


def test_embed_keeps_the_order_leaves_out_unlabelled_shapes_and_reads_epoch_zero():
    clouds = Clouds([2, -1, 0, 1, -1])
    clouds.set_epoch(7)
    features = embed(lambda points: points[:, 0, :2], clouds, batch_size=2)
    assert features.y.tolist() == [2, 0, 1]
    assert features.x.tolist() == [[0, 0], [2, 2], [3, 3]]


def test_embed_needs_labels():
    with pytest.raises(InputError, match="no class labels"):
        embed(plain_features, Clouds([-1, -1]))


def test_plain_features_do_not_depend_on_the_order_of_points_and_repeat_by_seed():
    points = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(0))
    a = plain_features(points, width=32)
    b = plain_features(points[:, torch.randperm(50)], width=32)
    assert a.shape == (2, 64)
    torch.testing.assert_close(a, b)
    assert not torch.allclose(a, plain_features(points, width=32, seed=1))
    assert not torch.allclose(a[0], a[1])


def test_plain_features_refuse_other_shapes():
    with pytest.raises(InputError, match=r"\(B, N, 3\)"):
        plain_features(torch.zeros(5, 3))


def test_the_map_keeps_far_groups_apart():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(20, 12)), rng.normal(size=(20, 12)) + 30])
    xy = flatten_map(x)
    assert xy.shape == (40, 2)
    own = np.linalg.norm(xy[:20] - xy[:20].mean(0), axis=1).max()
    assert np.linalg.norm(xy[:20].mean(0) - xy[20:].mean(0)) > own
