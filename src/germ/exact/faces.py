"""The compact faces of a Newton polyhedron, by the double description method in integers.

The weights w ≥ 0 and levels t ≥ 0 with w·a ≥ t for every exponent a form a cone; its extreme rays
with t > 0 are the facets of the polyhedron (Motzkin, Raiffa, Thompson, Thrall 1953). A face is an
intersection of facets, known by the exponents on it, and compact if the normals of all facets
through it have a sum that is positive in every coordinate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from germ.exact.newton import Monomial, minimal

MAX_RAYS = 600
MAX_FACES = 3_000


class TooManyFaces(Exception):
    """More than can be looked at one by one."""


@dataclass(frozen=True)
class _Ray:
    """A ray (w, t) and, as bits, the constraints that hold on it with equality."""

    vector: tuple[int, ...]
    tight: int


def compact_faces(monomials: Iterable[Monomial]) -> list[tuple[Monomial, ...]]:
    """The exponents on each compact face that is more than one point.

    Raises:
        TooManyFaces: There are more than `MAX_FACES`, or `MAX_RAYS` facets on the way.
    """
    support = sorted(set(monomials))
    dim = len(support[0])
    facets = []
    for *weight, level in (ray.vector for ray in _rays(minimal(support), dim)):
        on = sum(1 << j for j, a in enumerate(support) if _dot(weight, a) == level)
        facets.append((tuple(weight), on))
    seen = {on for _, on in facets if on}
    queue = list(seen)
    while queue:
        face = queue.pop()
        for _, on in facets:
            smaller = face & on
            if smaller and smaller not in seen:
                seen.add(smaller)
                queue.append(smaller)
                if len(seen) > MAX_FACES:
                    raise TooManyFaces
    found = []
    for face in seen:
        normals = [weight for weight, on in facets if on & face == face]
        if face & (face - 1) and all(map(any, zip(*normals, strict=True))):
            found.append(tuple(a for j, a in enumerate(support) if face >> j & 1))
    return sorted(found, key=lambda face: (len(face), face))


def _rays(corners: list[Monomial], dim: int) -> list[_Ray]:
    # To begin with, the orthant w ≥ 0, t ≥ 0: each ray lies on all coordinate planes but its own.
    axes = (1 << dim + 1) - 1
    rays = [
        _Ray(tuple(int(i == j) for j in range(dim + 1)), axes & ~(1 << i)) for i in range(dim + 1)
    ]
    for number, corner in enumerate(corners):
        bit = 1 << (dim + 1 + number)
        levels = [_dot(ray.vector[:-1], corner) - ray.vector[-1] for ray in rays]
        above = [(ray, s) for ray, s in zip(rays, levels, strict=True) if s > 0]
        below = [(ray, s) for ray, s in zip(rays, levels, strict=True) if s < 0]
        on = [
            _Ray(ray.vector, ray.tight | bit) for ray, s in zip(rays, levels, strict=True) if not s
        ]
        between = [
            _between(up, high, down, low, bit)
            for up, high in above
            for down, low in below
            if _adjacent(up, down, rays, dim)
        ]
        rays = [ray for ray, _ in above] + on + between
        if len(rays) > MAX_RAYS:
            raise TooManyFaces
    return rays


def _adjacent(first: _Ray, second: _Ray, rays: list[_Ray], dim: int) -> bool:
    common = first.tight & second.tight
    if common.bit_count() < dim - 1:
        return False
    return not any(
        ray.tight & common == common for ray in rays if ray is not first and ray is not second
    )


def _between(up: _Ray, high: int, down: _Ray, low: int, bit: int) -> _Ray:
    vector = [high * b - low * a for a, b in zip(up.vector, down.vector, strict=True)]
    common = math.gcd(*vector)
    return _Ray(tuple(a // common for a in vector), (up.tight & down.tight) | bit)


def _dot(weight: Iterable[int], a: Monomial) -> int:
    return sum(i * j for i, j in zip(weight, a, strict=True))
