"""What params.yaml says of HSVA: the schema of its sections."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pipeline.common.errors import UserError
from pipeline.common.params import AtLeastOne, Positive, Range
from pipeline.models.base import classifier
from pipeline.models.base.precision import Precision

NotNegative = Range(least=0)
Momentum = Range(least=0, below=1)


@dataclass(frozen=True)
class Networks:
    """Widths of the hidden layers and spaces, and how the weights begin."""

    hidden: Annotated[int, AtLeastOne]
    """hidden layer of both encoders, E_v and E_a"""
    aligned: Annotated[int, AtLeastOne]
    """the structure-aligned space"""
    common: Annotated[int, AtLeastOne]
    """hidden layer of the common encoder, E_z"""
    latent: Annotated[int, AtLeastOne]
    """the latent space, k"""
    decoder: Annotated[int, AtLeastOne]
    """hidden layer of both decoders, D_v and D_a"""
    task: Annotated[int, AtLeastOne]
    """hidden layer of both task classifiers, C_1 and C_2"""
    slope: Annotated[float, NotNegative]
    """of the leaky rectifiers below zero"""
    gain: Annotated[float, Positive]
    """of the Xavier-uniform initialisation"""
    norm_deviation: Annotated[float, NotNegative]
    """standard deviation around 1 of the first scales of the batch normalisation"""


@dataclass(frozen=True)
class Ramp:
    """A loss weight that rises linearly from 0 at epoch `start` to `most` at epoch `end`, and stays there."""

    start: Annotated[int, NotNegative]
    end: Annotated[int, NotNegative]
    most: Annotated[float, NotNegative]

    def __post_init__(self):
        if self.end < self.start:
            raise UserError(f"end: {self.end} is before start, {self.start}; set both, the end at or after the start")

    def at(self, epoch):
        """The weight in an epoch, counted from 0."""
        if epoch >= self.end:
            return self.most
        if epoch <= self.start:
            return 0.0
        return self.most * (epoch - self.start) / (self.end - self.start)


@dataclass(frozen=True)
class Config:
    """The params section of HSVA for one data set."""

    epochs: Annotated[int, AtLeastOne]
    batch: Annotated[int, Range(least=2)]
    """triples of a minibatch; two at least, for the batch normalisation and the covariances"""
    precision: Precision
    """of the matrix products of training; weights and losses stay float32. auto: see `base.precision`"""
    networks: Networks
    lr: Annotated[float, Positive]
    """Adam's, for encoders and decoders"""
    task_lr: Annotated[float, Positive]
    """Adam's, for C_1 and C_2"""
    beta1: Annotated[float, Momentum]
    beta2: Annotated[float, Momentum]
    amsgrad: bool
    """for encoders and decoders"""
    sad: bool
    """structure adaptation on or off"""
    wasserstein: bool
    """the distance W of the two kinds of Gaussians on or off"""
    icoral: bool
    """inverse CORAL on or off"""
    discrepancy: Literal["swd", "mcd"]
    """of the task classifiers: sliced Wasserstein or mean absolute difference"""
    projections: Annotated[int, AtLeastOne]
    """directions of the sliced Wasserstein discrepancy"""
    adaptation_steps: Annotated[int, AtLeastOne]
    """steps of the encoders against the discrepancy in each minibatch"""
    beta: Ramp
    """weight of the KL divergences"""
    gamma_c: Ramp
    """weight of the cross reconstruction"""
    lambda_d: Ramp
    """weight of the discrepancy, of W and of inverse CORAL"""
    reparameterization: Literal["released", "standard"]
    """how a latent is drawn: see `networks.draw`"""
    latents: Literal["raw", "standardised"]
    """scale of the latents that the classifier reads: see `model.Model.fit_latents`"""
    seen_samples: Annotated[int, AtLeastOne]
    """latents of each seen class for the classifier"""
    unseen_samples: Annotated[int, AtLeastOne]
    """latents of each unseen class, beside those of the seen ones"""
    czsl_samples: Annotated[int, AtLeastOne]
    """latents of each unseen class where unseen classes are all there is"""
    classifier: classifier.Config
