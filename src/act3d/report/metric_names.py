"""What the numbers of results.json and metrics.csv are called where people read them."""

_NAMES = {
    "oa": "overall accuracy, %",
    "macc": "mean class accuracy, %",
    "accuracy": "accuracy of points, %",
    "train_accuracy": "accuracy on training batches, %",
    "miou": "mean IoU, %",
    "instance_miou": "instance mIoU, %",
    "class_miou": "class mIoU, %",
    "cd_l1": "Chamfer L1 × 1000",
    "cd_l2": "Chamfer L2 × 1000",
    "f_score": "F-score at 0.01",
    "codes": "codes in use",
    "probe": "linear SVM on validation shapes, %",
    "zero_shot": "zero-shot accuracy on validation shapes, %",
    "recall_1": "recall@1 on validation shapes, %",
    "recall_5": "recall@5 on validation shapes, %",
    "knn": "k-NN accuracy, %",
    "pretrained": "pretrained, %",
    "start": "before this training, %",
    "random": "random initialization, %",
    "data_dependent": "data-dependent initialization, %",
    "plain": "plain PointNet features, %",
    "kl": "KL term",
    "loss": "training loss",
    "reconstruction": "reconstruction loss",
}


def metric_name(key: str) -> str:
    """Return the name of a metric for people, such as "random initialization, k-NN accuracy, %" for "random_knn"."""
    if key in _NAMES:
        return _NAMES[key]
    if key.startswith("val_"):
        name, *unit = metric_name(key.removeprefix("val_")).rsplit(", %", 1)
        return f"{name} on validation data" + (", %" if unit else "")
    if key.endswith("_knn"):
        return f"{metric_name(key.removesuffix('_knn')).removesuffix(', %')}, k-NN accuracy, %"
    return key.replace("_", " ")
