"""What every model is given and what it must offer; selection, training and evaluation know no more of it than this."""

from dataclasses import dataclass
from typing import Protocol

import torch

from pipeline.models.base.rows import Stored


@dataclass(frozen=True)
class Problem:
    """All that a model may learn from: images of seen classes, and the semantics of both kinds of class.

    There is no place in it for an unseen image or a test label.

    features: N x d_x float32, as extracted (a model scales them itself, fitted on these rows); where they are too
              many for the device, a `rows.Stored`, of which a trainer takes what a minibatch needs
    labels:   N int64 in 0..S-1, rows of `seen`
    seen:     S x d_a float32, L2-normalised semantics of the seen classes
    unseen:   U x d_a float32, of the unseen classes
    """

    features: torch.Tensor | Stored
    labels: torch.Tensor
    seen: torch.Tensor
    unseen: torch.Tensor


class Trainer(Protocol):
    """One training run of a model. What `epoch` counts is the model's: for ESZSL, pairs of regularisers."""

    epochs: int
    """How many epochs there are at most."""

    def epoch(self) -> dict[str, float]:
        """Train one more epoch; the mean of each loss term over it. The model then is fit to be judged."""

    def state_dict(self) -> dict:
        """All that going on needs beside the model: optimisers, random state, epoch; tensors and plain values."""

    def load_state_dict(self, state: dict) -> None:
        """Go on from a `state_dict`, bit for bit on the same machine."""


class Model(Protocol):
    """Networks that turn features into a space where a linear softmax tells classes apart. An `nn.Module`.

    A model's module offers `Config`, a frozen dataclass that is the schema of its params section, and
    `Model(d_x, d_a, seen, unseen, config)`: widths of features and semantics, numbers of classes, a `Config`.
    `Config.classifier` is a `pipeline.models.base.classifier.Config`.
    """

    def trainer(self, problem: Problem, seed: int) -> Trainer:
        """Begin a training run on the problem's device: initialise from `seed`, fit the scale of the features."""

    def encode(self, features: torch.Tensor) -> torch.Tensor:
        """N x d_x features as extracted, a block of them -> N x k inputs, of the kind that `classifier_set` gives."""

    def classifier_set(
        self, problem: Problem, seed: int, unseen_only: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """M x k inputs (a tensor or `rows`) and M labels for the linear classifier, seen classes 0..S-1 and synthesised
        unseen S..S+U-1.

        With `unseen_only` the set is for unseen classes alone (CZSL), of which a model may then want another number.

        It leaves the model as it is. None where the model needs no trained classifier: the classes' semantics then are
        its weights.
        """

    def head(self, semantics: torch.Tensor, width: int, generator: torch.Generator) -> torch.Tensor:
        """classes x (width + 1) weights and, last, biases, with which the linear classifier of classes with these
        semantics, classes x d_a, begins; on the CPU."""

    def expand(self, inputs: torch.Tensor) -> torch.Tensor:
        """M x k inputs -> M x K, what the linear classifier reads; applied batch by batch, K may be large."""
