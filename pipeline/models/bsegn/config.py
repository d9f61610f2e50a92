"""BSeGN's params: the schema of `bsegn.<data set>`. Every choice that is inferred is a field here."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pipeline.common.errors import UserError
from pipeline.common.params import AtLeastOne, Positive, Range
from pipeline.models.base import classifier
from pipeline.models.base.precision import Precision

NotNegative = Range(least=0)
Beta = Range(least=0, below=1)
Proportion = Range(above=0, most=1e6)


@dataclass(frozen=True)
class Widths:
    """Hidden units of each network; `cycle2` are those of the cycle branch's second layer, where it has one."""

    encoder: Annotated[int, AtLeastOne]
    generator: Annotated[int, AtLeastOne]
    critic: Annotated[int, AtLeastOne]
    cycle1: Annotated[int, AtLeastOne]
    cycle2: Annotated[int, AtLeastOne]
    fem: Annotated[int, AtLeastOne]


@dataclass(frozen=True)
class Cycle:
    """The cycle branch R.

    depth:  its hidden layers
    weight: lambda_cyc; at 0 the generator does not learn from it (R still feeds mFIM)
    fakes:  R learns from fake seen images too, in the generator's step, as in TF-VAEGAN's program on CUB, FLO and SUN
    unseen: the generator's cycle term is on unseen fakes too; in TF-VAEGAN's program it is on seen ones alone
    """

    depth: Literal[1, 2]
    weight: Annotated[float, NotNegative]
    lr: Annotated[float, Positive]
    fakes: bool
    unseen: bool


@dataclass(frozen=True)
class Embedding:
    """FEM.

    training:       online | frozen (trained on real seen images for `frozen_epochs`, then left alone) | none
    weight:         lambda_fem in units of gamma; at 0 the generator learns nothing from FEM
    temperature:    tau, by which cosines are divided
    v2s, s2v:       the contrastive directions, visual to semantic and semantic to visual
    balance:        domain_mean | per_sample | none; with per_sample the contrastive denominators stay in one domain
    balance_weight: lambda_bal
    centre:         subtract the mean class vector from the semantics, inside FEM
    joint:          weight of FEM's own scores in the prediction: the final classifier reads f(x) beside mFIM and begins
                    as that many times FEM, so that it learns what FEM leaves open; at 0 it neither reads nor begins so
    shared:         FEM is the cycle branch itself, with that one's lr and optimiser
    """

    training: Literal["online", "frozen", "none"]
    weight: Annotated[float, NotNegative]
    lr: Annotated[float, Positive]
    temperature: Annotated[float, Positive]
    v2s: bool
    s2v: bool
    balance: Literal["domain_mean", "per_sample", "none"]
    balance_weight: Annotated[float, NotNegative]
    centre: bool
    joint: Annotated[float, NotNegative]
    shared: bool
    frozen_epochs: Annotated[int, AtLeastOne]


@dataclass(frozen=True)
class Config:
    """The params of one data set.

    epochs:          at most
    batch:           images per step
    lr:              of encoder, generator and critic (Adam)
    beta1:           Adam's, of all networks but the encoder
    encoder_beta1:   Adam's, of the encoder
    gamma:           weight of the GAN
    penalty:         weight of the gradient penalty within it, or where that begins
    penalty_adapts:  the weight follows `losses.penalty_factor`, as in TF-VAEGAN's program: the critic's gradient then
                     has a length of about 2 instead of 1
    critic_steps:    steps of critic and cycle branch to one of generator and FEM
    latent:          width of the noise z; null is the width of the semantics
    seen_latents:    z of seen-class fakes: `encoded` from real images, or drawn from the `prior`
    levels:          hidden layers of the cycle branch, from the first on, that mFIM adds to the features beside the
                     branch's output; 0 is no mFIM at all
    synthetic:       N_syn, features synthesised per unseen class for the final classifier; null where there is a
    proportion:      features synthesised for all unseen classes together, alike many for each, to one real one, so that
                     the classifier finds on test what it was chosen by on validation, where fewer classes are seen
    length:          before the classifier each dimension of mFIM is standardised on real trainval images, and rows get
                     about this length; null leaves mFIM as it is, which a linear softmax learns from very slowly
    precision:       of the matrix products in training; weights and optimisers stay float32. bfloat16 is fast where the
                     processor has it, and several times slower than float32 where it has not; auto is the one or the
                     other accordingly
    """

    epochs: Annotated[int, AtLeastOne]
    batch: Annotated[int, AtLeastOne]
    lr: Annotated[float, Positive]
    beta1: Annotated[float, Beta]
    encoder_beta1: Annotated[float, Beta]
    gamma: Annotated[float, NotNegative]
    penalty: Annotated[float, NotNegative]
    penalty_adapts: bool
    critic_steps: Annotated[int, AtLeastOne]
    latent: Annotated[int, AtLeastOne] | None
    seen_latents: Literal["encoded", "prior"]
    levels: Literal[0, 1, 2]
    synthetic: Annotated[int, AtLeastOne] | None
    proportion: Annotated[float, Proportion] | None
    length: Annotated[float, Positive] | None
    widths: Widths
    cycle: Cycle
    fem: Embedding
    classifier: classifier.Config
    precision: Precision

    def __post_init__(self):
        if (self.synthetic is None) == (self.proportion is None):
            found = "neither is set" if self.synthetic is None else "both are set"
            raise UserError(f"synthetic, proportion: {found}; set one, and leave the other null")
        if self.levels > self.cycle.depth:
            raise UserError(
                f"levels: {self.levels} is more than the hidden layers of the cycle branch; set cycle.depth to 2 too"
            )
        if self.fem.joint and self.fem.training == "none":
            raise UserError("fem.joint: a FEM that never learns has no part in the prediction; set fem.joint to 0 too")
        if self.fem.shared and self.fem.training == "frozen":
            raise UserError("fem.shared: FEM cannot be the cycle branch and frozen; set fem.training to online or none")
