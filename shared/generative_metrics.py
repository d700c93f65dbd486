"""How close are generated images to real ones? One yardstick for every generative model here.

All distances are taken between the features of a small classifier (shared/features.py): our
features, not Inception's, so no figure of this module compares with a published FID. A figure says
something beside two others only: that of real images never used (the floor) and that of noise.
All sets that are compared should be equally large: most of these measures depend on the number.
"""

from __future__ import annotations

import math

import numpy as np

from shared.features import FeatureNet, embed

NEIGHBOURS = 3  # the k of precision and recall
RARE = 0.01  # share of real images that count as duplicates, by definition


def _check_features(*sets) -> list[np.ndarray]:
    """Return feature sets as float64 (N, D), or raise ValueError."""
    sets = [np.asarray(x, dtype=np.float64) for x in sets]
    for x in sets:
        if x.ndim != 2 or 0 in x.shape or x.shape[1] != sets[0].shape[1]:
            shapes = ", ".join(str(x.shape) for x in sets)
            raise ValueError(f"features have shapes {shapes}; each must be (N, D), with one D")
        if not np.isfinite(x).all():
            raise ValueError("features hold NaN or infinite values; they must be finite")
    return sets


def gaussian_distance(mean_a, cov_a, mean_b, cov_b) -> float:
    """Return the squared Fréchet distance of two Gaussians.

    ‖μ_a − μ_b‖² + tr(Σ_a) + tr(Σ_b) − 2 tr((Σ_a^½ Σ_b Σ_a^½)^½)

    Args: mean_a, mean_b: (D,). cov_a, cov_b: (D, D), symmetric, no negative eigenvalue; a singular
        one is allowed.
    Source: Dowson and Landau 1982, equation 4; Heusel et al. 2017, equation 6.
    """
    mean_a, mean_b, cov_a, cov_b = map(np.asarray, (mean_a, mean_b, cov_a, cov_b))
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T  # Σ_a^½
    inner = np.linalg.eigvalsh(root @ cov_b @ root).clip(min=0)  # rounding may leave −1e-17
    spread = np.trace(cov_a) + np.trace(cov_b) - 2 * np.sqrt(inner).sum()
    return float(((mean_a - mean_b) ** 2).sum() + spread)


def frechet_distance(real, fake) -> float:
    """Return the squared Fréchet distance of Gaussians fitted to two sets of features.

    Args: real: (N, D), fake: (M, D), with N, M ≥ 2. It is 0 where mean and covariance agree; it
        grows a little when sets are small, so compare equally large ones.
    """
    real, fake = _check_features(real, fake)
    if min(len(real), len(fake)) < 2:
        raise ValueError(
            f"there are {len(real)} and {len(fake)} examples; each set needs 2 or more"
        )
    moments = [(x.mean(axis=0), np.atleast_2d(np.cov(x, rowvar=False))) for x in (real, fake)]
    return max(0.0, gaussian_distance(*moments[0], *moments[1]))


def nearest(queries, pool, k: int = 1, rows: int = 1_000) -> tuple[np.ndarray, np.ndarray]:
    """Return distances and places, both (N, k), of the k nearest of the pool for each query.

    Args: queries: (N, D). pool: (M, D), M ≥ k. rows: queries at a time, a matter of memory.
    """
    queries, pool = _check_features(queries, pool)
    if not 1 <= k <= len(pool):
        raise ValueError(f"k is {k}; it must be 1 … {len(pool)}, the size of the pool")
    centre = pool.mean(axis=0)  # near 0 the difference of squares rounds least
    queries, pool = queries - centre, pool - centre
    pool_squares, distances, places = (pool**2).sum(axis=1), [], []
    for start in range(0, len(queries), rows):
        part = queries[start : start + rows]
        sums = (part**2).sum(axis=1)[:, None] + pool_squares  # (rows, M)
        squares = sums - 2 * part @ pool.T
        squares[squares < 1e-12 * sums] = 0  # the same point, up to rounding
        near = np.argpartition(squares, k - 1, axis=1)[:, :k]
        found = np.take_along_axis(squares, near, axis=1)
        order = np.argsort(found, axis=1, kind="stable")
        places.append(np.take_along_axis(near, order, axis=1))
        distances.append(np.sqrt(np.take_along_axis(found, order, axis=1)))
    return np.concatenate(distances), np.concatenate(places)


def neighbour_distances(x, k: int) -> np.ndarray:
    """Return the distance (N,) from each point of x (N, D) to its k-th nearest *other* point."""
    (x,) = _check_features(x)
    if not 1 <= k < len(x):
        raise ValueError(f"k is {k}; it must be 1 … {len(x) - 1}, one less than there are points")
    return nearest(x, x, k + 1)[0][:, k]  # the nearest is the point itself


def coverage(points, centres, radii, rows: int = 1_000) -> float:
    """Return the share of points (N, D) that lie in a ball around any centre (M, D), radii (M,)."""
    points, centres = _check_features(points, centres)
    middle = centres.mean(axis=0)
    points, centres, inside = points - middle, centres - middle, 0
    centre_squares = (centres**2).sum(axis=1)
    for start in range(0, len(points), rows):
        part = points[start : start + rows]
        sums = (part**2).sum(axis=1)[:, None] + centre_squares
        squares = sums - 2 * part @ centres.T
        inside += int((squares <= radii**2 + 1e-12 * sums).any(axis=1).sum())
    return inside / len(points)


def precision_recall(real, fake, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Return precision and recall of samples.

    The real manifold is the union of balls around the real points, each as wide as the distance to
    its k-th nearest other real point; the samples' likewise. Precision is the share of samples on
    the real manifold (do they look real?), recall that of real points on the samples' (is all that
    is real made?).

    Args: real: (N, D), fake: (M, D), each with more than k points.
    Source: Kynkäänniemi et al. 2019, equations 1 and 2.
    """
    radii = [neighbour_distances(x, k) for x in (real, fake)]
    return coverage(fake, real, radii[0]), coverage(real, fake, radii[1])


def class_entropy(labels, num_classes: int = 10) -> float:
    """Return the entropy of the classes' shares over ln K: 1 for equal shares, 0 for one class.

    Args: labels: (N,) whole numbers from 0 to K − 1.
    """
    labels = np.asarray(labels)
    whole = labels.ndim == 1 and labels.size and labels.dtype.kind in "iu" and num_classes > 1
    if not whole or labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"labels must be (N,) whole numbers, 0 … {num_classes - 1}, 1 or more")
    shares = np.bincount(labels) / len(labels)
    shares = shares[shares > 0]  # 0 · ln 0 = 0
    return float(abs((shares * np.log(shares)).sum()) / math.log(num_classes))


def duplicates_share(real, fake) -> float:
    """Return the share of samples that have a twin: another sample nearer than all but the nearest
    hundredth of real points have. Of real points, by definition, it is RARE.

    Args: real: (N, D), fake: (M, D), equally many: where there are more, they lie closer.
    """
    limit = np.quantile(neighbour_distances(real, 1), RARE)
    return float((neighbour_distances(fake, 1) <= limit).mean())


class Yardstick:
    """Real images, embedded once, that samples are measured against.

    Args: net: from shared.features.feature_net. real: (N, C, H, W) float, 0 … 1: images that
        neither the network nor the generator learned from. k: for precision and recall.
    """

    def __init__(self, net: FeatureNet, real, k: int = NEIGHBOURS):
        self.net, self.k = net, k
        self.real, _ = embed(net, real)
        self.radii = neighbour_distances(self.real, k)
        self.twin_distance = float(np.quantile(neighbour_distances(self.real, 1), RARE))

    def __len__(self) -> int:
        return len(self.real)

    def frechet(self, images) -> float:
        """Return the Fréchet distance of images to the real ones: in our features, not FID."""
        return frechet_distance(self.real, embed(self.net, images)[0])

    def measure(self, images) -> dict[str, float]:
        """Return frechet, precision, recall, class_entropy and duplicates of images.

        Args: images: (N, C, H, W) float, 0 … 1; as many as there are real ones.
        Raises: ValueError where their number differs: the figures would not compare.
        """
        if len(images) != len(self):
            raise ValueError(
                f"there are {len(images)} images; measure as many as real, {len(self)}"
            )
        fake, labels = embed(self.net, images)
        near = neighbour_distances(fake, 1)
        return {
            "frechet": frechet_distance(self.real, fake),
            "precision": coverage(fake, self.real, self.radii),
            "recall": coverage(self.real, fake, neighbour_distances(fake, self.k)),
            "class_entropy": class_entropy(labels, self.net.num_classes),
            "duplicates": float((near <= self.twin_distance).mean()),
        }
