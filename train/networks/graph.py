"""The skeleton as a graph, in the forms that graph networks take."""

import numpy as np
from numpy.typing import NDArray

from skelanon.sensors.joints import JOINTS

Doubles = NDArray[np.float64]

CENTRE = 20
"""SpineShoulder, the centre from which NTU graphs point outwards."""

INWARD = (
    (0, 1), (1, 20), (2, 20), (3, 2), (4, 20), (5, 4), (6, 5), (7, 6), (8, 20), (9, 8), (10, 9), (11, 10),
    (12, 0), (13, 12), (14, 13), (15, 14), (16, 0), (17, 16), (18, 17), (19, 18), (21, 22), (22, 7), (23, 24), (24, 11),
)  # fmt: skip
"""(from, to) edges towards `CENTRE`, as public NTU RGB+D graphs have them: HandTip hangs on Thumb there."""


def adjacency(edges: tuple[tuple[int, int], ...]) -> Doubles:
    """(25, 25) float64: entry [to, from] is 1 for each (from, to)."""
    matrix = np.zeros((JOINTS, JOINTS))
    for start, end in edges:
        matrix[end, start] = 1.0
    return matrix


def normalised_by_column(matrix: Doubles) -> Doubles:
    """Each column divided by its sum; columns of zeros stay."""
    sums = matrix.sum(0)
    return matrix / np.where(sums > 0, sums, 1.0)


def inward_outward() -> Doubles:
    """(3, 25, 25) float64: self-links, inward and outward edges, the last two normalised by column."""
    inward = adjacency(INWARD)
    return np.stack([np.eye(JOINTS), normalised_by_column(inward), normalised_by_column(inward.T)])


def undirected() -> Doubles:
    """(25, 25) float64 of 0 and 1: edges both ways, without self-links."""
    inward = adjacency(INWARD)
    return inward + inward.T


def scales(links: Doubles, count: int) -> Doubles:
    """(count, J, J) float64: the k-adjacencies of an undirected graph, 0 <= k < count, for MS-G3D.

    The k-th links joints exactly k hops apart, and each joint to itself, normalised symmetrically: D^-1/2 A D^-1/2.
    links: (J, J) of 0 and 1; whether it has self-links makes no difference. Source: arXiv 2003.14111, section 3.2.
    """
    itself = np.eye(len(links))
    within = np.stack([np.linalg.matrix_power(np.minimum(links + itself, 1), k) > 0 for k in range(count)])
    exactly = within.copy()
    exactly[1:] &= ~within[:-1]
    adjacencies = np.maximum(exactly, itself)
    root = adjacencies.sum(-1) ** -0.5
    return np.asarray(root[:, :, None] * adjacencies * root[:, None, :], np.float64)


def windowed(links: Doubles, window: int) -> Doubles:
    """(window * J, window * J) float64: each joint linked to itself and its neighbours in every frame of a window.

    links: (J, J) of 0 and 1, without self-links. Rows and columns are frame * J + joint. Source: arXiv 2003.14111,
    section 3.3.
    """
    return np.tile(links + np.eye(len(links)), (window, window))


def spatial_partition() -> Doubles:
    """(3, 25, 25) float64: self-links, inward and outward edges for ST-GCN; entry [from, to].

    Unlike `inward_outward`, a joint's three columns have a sum of one together. Source: arXiv 1801.07455, spatial
    configuration partitioning.
    """
    inward = adjacency(INWARD).T
    itself = np.eye(JOINTS)
    return normalised_by_column(undirected() + itself) * np.stack([itself, inward, inward.T])
