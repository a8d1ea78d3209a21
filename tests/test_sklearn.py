"""`act3d.sklearn`: a step of a Pipeline that takes files."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import act3d
from act3d.errors import InputError
from act3d.sklearn import ShapeEmbedder


def test_a_pipeline_takes_files(meshes: Path, student_file: Path) -> None:
    files = [str(meshes / kind / f"{kind}{i}.obj") for kind in ("rod", "plate") for i in range(3)]
    kinds = ["rod"] * 3 + ["plate"] * 3
    embedder = ShapeEmbedder(student_file, batch_size=4)
    vectors = embedder.fit_transform(files)
    assert np.allclose(vectors, act3d.load(student_file).embed(files).numpy(), atol=1e-5)
    assert len(embedder.get_feature_names_out()) == vectors.shape[1] == 128
    assert np.array_equal(pickle.loads(pickle.dumps(embedder)).transform(files), vectors)
    model = make_pipeline(ShapeEmbedder(student_file), LogisticRegression())
    assert list(model.fit(files, kinds).predict(np.array(files))) == kinds
    search = GridSearchCV(model, {"shapeembedder__up": ["y", "z"]}, cv=3).fit(files, kinds)
    assert search.best_score_ > 0.5
    turned = clone(embedder).set_params(up="z").fit(files).transform(files[:1])
    assert np.abs(turned - vectors[:1]).max() > 1e-3
    with pytest.raises(NotFittedError):
        clone(embedder).transform(files)
    with pytest.raises(InputError, match=r"bad\.obj"):
        embedder.transform([meshes / "plate" / "bad.obj"])


def test_parameters_are_kept_as_given(student_file: Path) -> None:
    embedder = ShapeEmbedder(student_file, up="z", batch_size=8, device="cpu")
    assert clone(embedder).get_params() == embedder.get_params()
    assert embedder.get_params()["checkpoint"] is student_file
