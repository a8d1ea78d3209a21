"""A linear SVM with squared hinge loss for all classes at once."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Newton's steps pay where fewer shapes are inside the margin than this share over the number of axes: measured.
FEW_INSIDE = 50.0


class LinearMachine:
    """One linear SVM a class against the rest, all at once: 1/2 |w|^2 + C sum max(0, 1 - t (w x + b))^2.

    The bias counts as a weight (Fan et al., LIBLINEAR, JMLR 2008). A fit starts from the last one's end, so go from
    small C to large. Where many shapes are inside the margin, L-BFGS runs over all classes along the principal axes of
    the shapes, each scaled by the curvature to expect there: two matrix products a step, tens of steps. Where few are,
    as from C = 1 on, it would take hundreds; Newton's method on these few (Chapelle, Neural Computation 2007) takes
    about seven, and ends at the minimum itself.

    Args:
        x: features (S, F); they are standardised by their own mean and deviation.
        y: class ids (S,).
    """

    def __init__(self, x: NDArray[Any], y: NDArray[np.int64]) -> None:
        self.mean, self.spread = moments(x)
        self.classes = np.unique(y)
        self.targets = np.where(y[:, None] == self.classes, 1.0, -1.0)  # (S, K)
        x = self._features(x)
        if len(x) < x.shape[1]:
            # Weights are in the span of the shapes, so there are no more axes than shapes.
            self.axes = np.linalg.svd(x, full_matrices=False)[2].T  # (F, S)
        else:
            self.axes = np.linalg.eigh(x.T @ x)[1]  # (F, F)
        self.x = x @ self.axes
        self.energy = np.square(self.x).sum(axis=0)
        self.weights = np.zeros((self.x.shape[1], len(self.classes)))

    def fit(self, c: float, steps: int = 500, tolerance: float = 1e-6) -> "LinearMachine":
        """Go on from the weights of the last fit to those for this C.

        Args:
            c: weight of the loss, > 0.
            steps: at most so many steps.
            tolerance: relative decrease of the objective at which L-BFGS ends.
        """
        inside = float((self._short(self.weights, self.targets) > 0).mean())
        if inside * self.x.shape[1] < FEW_INSIDE:
            self._newton(c, steps)
        else:
            self._descend(c, steps, tolerance)
        return self

    def scores(self, x: NDArray[Any]) -> NDArray[Any]:
        """Scores (T, K) of features (T, F)."""
        return self._features(x) @ self.axes @ self.weights

    def predict(self, x: NDArray[Any]) -> NDArray[np.int64]:
        """Class ids (T,) of features (T, F)."""
        return np.asarray(self.classes[self.scores(x).argmax(axis=1)])

    def _features(self, x: NDArray[Any]) -> NDArray[Any]:
        return np.hstack([(x - self.mean) / self.spread, np.ones((len(x), 1))])

    def _short(self, weights: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """What every shape lacks to its margin (S, K)."""
        return np.maximum(0.0, 1 - targets * (self.x @ weights))

    def _descend(self, c: float, steps: int, tolerance: float) -> None:
        """L-BFGS over all classes."""
        from scipy.optimize import minimize

        # The Hessian is 1 + 2 C x'x over the shapes inside the margin; a tenth of all is a good estimate.
        scale = (1 + 0.2 * c * self.energy[:, None]) ** -0.5
        x = self.x * scale.T

        def objective(flat: NDArray[Any]) -> tuple[float, NDArray[Any]]:
            scaled = flat.reshape(self.weights.shape)
            weights = scaled * scale
            short = np.maximum(0.0, 1 - self.targets * (x @ scaled))
            slope = weights * scale - 2 * c * (x.T @ (short * self.targets))
            return 0.5 * float(np.vdot(weights, weights)) + c * float(np.vdot(short, short)), slope.ravel()

        options = {"maxiter": steps, "maxfun": 2 * steps, "maxcor": 10, "ftol": tolerance, "gtol": 0.0}
        start = (self.weights / scale).ravel()
        found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
        self.weights = found.x.reshape(self.weights.shape) * scale

    def _newton(self, c: float, steps: int) -> None:
        """Newton's method, class by class: which shapes are inside the margin settles after a few steps."""
        weights = self.weights.copy()
        short = self._short(weights, self.targets)
        value = _objective(weights, short, c)
        open_ = np.arange(weights.shape[1])  # classes that still move
        for _ in range(steps):
            targets, before = self.targets[:, open_], weights[:, open_]
            way = np.stack([self._minimum(short[:, k] > 0, self.targets[:, k], c) for k in open_], axis=1) - before
            length = np.ones(len(open_))
            while True:  # a whole step almost always descends; where it does not, half of it, and so on
                after = before + length * way
                now = self._short(after, targets)
                reached = _objective(after, now, c)
                worse = (reached > value[open_]) & (length > 1e-6)
                if not worse.any():
                    break
                length[worse] /= 2
            settled = ((now > 0) == (short[:, open_] > 0)).all(axis=0) & (length == 1)
            settled |= value[open_] - reached <= 1e-12 * value[open_]
            weights[:, open_], short[:, open_], value[open_] = after, now, reached
            open_ = open_[~settled]
            if not len(open_):
                break
        self.weights = weights

    def _minimum(self, inside: NDArray[np.bool_], targets: NDArray[Any], c: float) -> NDArray[Any]:
        """Weights (F,) of one class that are best if just these shapes count."""
        from scipy.linalg import cho_factor, cho_solve

        x = self.x[inside]
        hessian = 2 * c * (x.T @ x)
        hessian.flat[:: len(hessian) + 1] += 1
        slope = 2 * c * (targets[inside] @ x)
        factor = cho_factor(hessian, lower=True, overwrite_a=True, check_finite=False)
        return np.asarray(cho_solve(factor, slope, overwrite_b=True, check_finite=False))


def _objective(weights: NDArray[Any], short: NDArray[Any], c: float) -> NDArray[Any]:
    """The objective of every class (K,)."""
    return 0.5 * np.square(weights).sum(axis=0) + c * np.square(short).sum(axis=0)


def moments(x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean and deviation (F,) of features (S, F); infinite deviation where a feature never moves."""
    mean, spread = x.mean(axis=0), x.std(axis=0)
    # A feature that never moves in training says nothing; dividing by its rounding noise would amplify that.
    return mean, np.where(spread > 1e-9 * np.maximum(1.0, np.abs(mean)), spread, np.inf)
