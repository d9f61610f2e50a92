"""HSVA: hierarchical semantic-visual adaptation (Chen et al., NeurIPS 2021, arXiv 2109.15163).

Two encoders map features and semantics into one structure-aligned space, where two task classifiers and the encoders
play a discrepancy game (structure adaptation, SAD). A common encoder maps that space to Gaussians whose two kinds,
visual and semantic, are drawn together by two VAEs with cross reconstruction (distribution adaptation). A linear
classifier on the latents is trained on encoded images of seen classes and on latents drawn from unseen semantics.

Where the authors' released program and the paper differ this follows the program, but that it

- picks nothing on the test images, where the program picks both epochs there;
- draws unseen classes uniformly, where the program draws them as often as they have test images;
- draws the images behind a seen class's latents for the classifier at random, where the program takes its first ones;
- trains the classifier on each epoch's last, incomplete minibatch as it is, where the program drops it (all classes) or
  fills it up from the start (unseen classes alone), and for as many epochs as asked, where the program adds one and
  never takes the first.

config:   the schema of its params sections
networks: encoders, decoders and task classifiers, and how a latent is drawn
losses:   the equations, in the order in which a minibatch takes them
model:    what is kept of a training: the networks, and the latents that the linear classifier reads
trainer:  the training, minibatch by minibatch
"""

from pipeline.models.hsva.config import Config
from pipeline.models.hsva.model import Model

__all__ = ["Config", "Model"]
