"""From features to guesses: a class for each image, and the attributes that speak for it."""

from dataclasses import dataclass

import torch

from pipeline.common.errors import UserError
from pipeline.models.base import classifier
from pipeline.predict import bundle
from pipeline.protocol.reading import Reading
from pipeline.report import looks

SPEAKING = 3


@dataclass(frozen=True)
class Candidates:
    """Classes to choose among: C names, their kinds (seen, unseen or new) and C x d_a semantics."""

    names: list[str]
    kinds: list[str]
    semantics: torch.Tensor


@dataclass(frozen=True)
class Guess:
    """A class for an image: name, kind, probability, and the attributes that speak for it (see `Reading`), with their
    numbers; at: its place among the candidates; which: the numbers of those attributes.

    maps: 1 + SPEAKING x h x w, of the class and of those attributes, of a photograph's first guess where maps are made
    """

    name: str
    kind: str
    probability: float
    attributes: list[tuple[str, float]]
    at: int
    which: list[int]
    maps: torch.Tensor | None = None


class Predictor:
    """Features -> guesses. `new`: names and semantics of new classes; among: all, unseen (with new ones) or new."""

    def __init__(self, kept, device, new=None, among="all", calibrated=False):
        about, tensors = kept.about, {name: tensor.to(device) for name, tensor in kept.tensors.items()}
        new_names, new_semantics = new or ([], tensors["seen"][:0].cpu())
        if new_names and new_semantics.shape[1] != tensors["seen"].shape[1]:
            raise UserError(
                f"new classes have {new_semantics.shape[1]} attributes, {about.dataset} has {tensors['seen'].shape[1]}"
            )
        if among == "new" and not new_names:
            raise UserError("--among new: needs --classes, a CSV of new classes")
        keep_unseen = among != "new"
        unseen = torch.cat([tensors["unseen"][: None if keep_unseen else 0], new_semantics.to(device)])
        kinds = ["unseen"] * (len(about.unseen) if keep_unseen else 0) + ["new"] * len(new_names)
        names = (about.unseen if keep_unseen else []) + new_names
        self.kept, self.device, self.tensors = kept, device, tensors
        self.model = kept.model(device, unseen)
        average = torch.cat([tensors["seen"], tensors["unseen"]]).mean(0)
        self.reading = Reading(tensors["reading.weight"], tensors["reading.centre"], average)
        self.head = self._head(unseen, among == "all", bool(new_names))
        if among == "all":
            kinds, names = ["seen"] * len(about.seen) + kinds, about.seen + names
            unseen = torch.cat([tensors["seen"], unseen])
        self.candidates = Candidates(names, kinds, unseen)
        is_seen = torch.tensor([kind == "seen" for kind in kinds], device=device)
        self.handicap = about.constant * is_seen if calibrated else torch.zeros(len(kinds), device=device)

    def _head(self, unseen, with_seen, changed):
        """The linear classifier: as trained, or trained anew for other unseen classes."""
        about, tensors, count = self.kept.about, self.tensors, len(self.kept.about.seen)
        if not changed:
            name = "gzsl" if with_seen else "czsl"
            return classifier.Head(tensors[f"{name}.weight"], tensors[f"{name}.bias"])
        made = bundle.synthesised(self.kept, self.model, unseen, about.seed)
        semantics = torch.cat([tensors["seen"], unseen]) if with_seen else unseen
        if made is None:
            return classifier.Head(semantics, semantics.new_zeros(len(semantics)))
        inputs, labels = made
        epochs = about.gzsl_epoch if with_seen else about.czsl_epoch
        if with_seen:
            inputs, labels = torch.cat([tensors["inputs"].float(), inputs]), torch.cat([tensors["labels"], labels])
        else:
            labels = labels - count
        with torch.no_grad():
            *_, head = classifier.epochs(
                inputs, labels, semantics, self.kept.config.classifier, about.seed, epochs, self.model
            )
        return head

    @torch.no_grad()
    def __call__(self, extracted, top):
        """M x d_x features -> a list of the `top` guesses for each, the most probable first."""
        inputs = self.model.encode(extracted.to(self.device))
        scores = classifier.scores(self.head, inputs, self.model.expand) - self.handicap
        probabilities, order = (scores / self.tensors["temperature"]).softmax(1).topk(min(top, scores.shape[1]))
        if not probabilities.isfinite().all():
            folder = self.kept.weights.parent
            raise UserError(f"{folder}: its model's scores of a photograph are no numbers; {bundle.AGAIN}")
        speaks = self.reading.speaking(self.reading(inputs), self.candidates.semantics[order])
        return [
            [self._guess(*of_class) for of_class in zip(*of_image, strict=True)]
            for of_image in zip(probabilities.tolist(), order.tolist(), speaks.cpu(), strict=True)
        ]

    def _guess(self, probability, at, speaks):
        names, candidates = self.kept.about.attributes, self.candidates
        weights, order = speaks.topk(min(SPEAKING, len(names)))
        named = [(i, w) for i, w in zip(order.tolist(), weights.tolist(), strict=True) if w > 0]
        attributes = [(names[i], w) for i, w in named]
        return Guess(candidates.names[at], candidates.kinds[at], probability, attributes, at, [i for i, _ in named])

    def values(self, guesses):
        """What is asked of photographs whose first guesses these are: M x d_x features -> M x (1 + SPEAKING) values,
        with gradients. The class's score beyond the mean of all candidates' scores, and the share of it that each of
        the guess's attributes explains; zero where there are fewer of them."""
        at = torch.tensor([guess.at for guess in guesses], device=self.device)
        padded = [guess.which + [0] * (SPEAKING - len(guess.which)) for guess in guesses]
        which = torch.tensor(padded, device=self.device)
        there = torch.tensor([[i < len(guess.which) for i in range(SPEAKING)] for guess in guesses], device=self.device)

        def of(extracted):
            score = looks.score(self.model, self.head, extracted, at)
            read = self.reading(self.model.encode(extracted))
            shares = self.reading.shares(read, self.candidates.semantics[at])
            return torch.cat([score, shares.gather(1, which) * there], 1)

        return of
