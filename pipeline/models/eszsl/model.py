"""ESZSL's params, its bilinear form, and the closed form that solves for it."""

import itertools
from dataclasses import dataclass
from typing import Literal

import torch

from pipeline.models.base.rows import BLOCK
from pipeline.models.base.scaling import MinMax


@dataclass(frozen=True)
class Config:
    """`eszsl.<data set>`: the powers of ten that gamma and lambda run over, and what a wrong class's target is."""

    gammas: list[int]
    lambdas: list[int]
    wrong: Literal[-1, 0]
    scale: Literal["minmax", "none"]


class Model(torch.nn.Module):
    """V, d_x x d_a; the score of a class with semantics a is x^T V a."""

    def __init__(self, d_x, d_a, seen, unseen, config):
        super().__init__()
        self.config = config
        self.scale = MinMax(d_x)
        self.register_buffer("form", torch.zeros(d_x, d_a))

    def trainer(self, problem, seed):
        return Trainer(self.to(problem.features.device), problem)

    def encode(self, features):
        return self.scale(features) @ self.form

    def classifier_set(self, problem, seed, unseen_only=False):
        return None

    def expand(self, inputs):
        return inputs


class Trainer:
    """Solves for one pair (gamma, lambda) an epoch, in the order of the product of both lists."""

    def __init__(self, model, problem):
        self.model = model
        self.pairs = list(itertools.product(model.config.gammas, model.config.lambdas))
        self.epochs = len(self.pairs)
        self.done = 0
        if model.config.scale == "minmax":
            model.scale.fit(problem.features)
        s = problem.seen.double()
        gram, self.target = self._sums(problem, s)
        # one eigendecomposition of each side serves every regulariser
        self.x_values, self.x_vectors = torch.linalg.eigh(gram)
        self.s_values, self.s_vectors = torch.linalg.eigh(s.T @ s)

    def _sums(self, problem, s):
        """X X^T and X Y S^T in float64, summed block by block; Y, a target of every class for every image, is not made:
        its row times S^T is that of the image's class and `wrong` of all others."""
        wrong, width = float(self.model.config.wrong), problem.features.shape[1]
        gram, target = s.new_zeros(width, width), s.new_zeros(width, s.shape[1])
        for block, labels in zip(problem.features.split(BLOCK), problem.labels.split(BLOCK), strict=True):
            x = self.model.scale(block).double()
            gram += x.T @ x
            target += x.T @ (wrong * s.sum(0) + (1 - wrong) * s[labels])
        return gram, target

    def epoch(self):
        """V = (X X^T + gamma I)^-1 X Y S^T (S S^T + lambda I)^-1, the paper's equation 6."""
        gamma, lam = (10.0**power for power in self.pairs[self.done])
        middle = self.x_vectors.T @ self.target @ self.s_vectors
        middle = middle / (self.x_values + gamma)[:, None] / (self.s_values + lam)[None, :]
        self.model.form.copy_(self.x_vectors @ middle @ self.s_vectors.T)
        self.done += 1
        return {"gamma": gamma, "lambda": lam}

    def state_dict(self):
        return {"done": self.done}

    def load_state_dict(self, state):
        self.done = state["done"]
