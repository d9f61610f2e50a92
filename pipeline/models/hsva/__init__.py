"""HSVA: hierarchical semantic-visual adaptation (Chen et al., NeurIPS 2021, arXiv 2109.15163).

Two encoders map features and semantics into one structure-aligned space, where two task classifiers and the encoders
play a discrepancy game (structure adaptation, SAD). A common encoder maps that space to Gaussians whose two kinds,
visual and semantic, are drawn together by two VAEs with cross reconstruction (distribution adaptation). A linear
classifier on the latents is trained on encoded images of seen classes and on latents drawn from unseen semantics.

config:   the schema of its params sections
networks: encoders, decoders and task classifiers, and how a latent is drawn
losses:   the equations, in the order in which a minibatch takes them
model:    what is kept of a training: the networks, and the latents that the linear classifier reads
trainer:  the training, minibatch by minibatch
"""

from pipeline.models.hsva.config import Config
from pipeline.models.hsva.model import Model

__all__ = ["Config", "Model"]
