"""HSVA as it is kept and used after training: its networks, latents of images, and latents for the classifier."""

import torch
from torch import nn

from pipeline.models.base import classifier
from pipeline.models.base.gradient import of_input_alone
from pipeline.models.base.scaling import MinMax
from pipeline.models.hsva.networks import Perceptron, TaskClassifiers, draw, widen
from pipeline.models.hsva.trainer import Trainer


class Model(nn.Module):
    """All networks of HSVA. C_1, C_2 and the decoders serve training alone."""

    def __init__(self, d_x, d_a, seen, unseen, config):
        super().__init__()
        self.config = config
        widths = config.networks
        self.scale = MinMax(d_x)
        self.visual = Perceptron(d_x, widths.hidden, widths.aligned, widths.slope)
        self.semantic = Perceptron(d_a, widths.hidden, widths.aligned, widths.slope)
        self.common = Perceptron(widths.aligned, widths.common, 2 * widths.latent, widths.slope)
        self.visual_decoder = Perceptron(widths.latent, widths.decoder, d_x, widths.slope)
        self.semantic_decoder = Perceptron(widths.latent, widths.decoder, d_a, widths.slope)
        self.tasks = TaskClassifiers(widths.aligned, widths.task, seen)
        self.register_buffer("centre", torch.zeros(widths.latent))
        self.register_buffer("spread", torch.ones(widths.latent))

    def initialise(self, seed):
        """Begin all weights anew from `seed`."""
        generator = torch.Generator().manual_seed(seed)
        widths = self.config.networks
        for net in (self.visual, self.semantic, self.visual_decoder, self.semantic_decoder):
            net.initialise(widths.gain, generator)
        self.common.initialise(widths.gain, generator, heads=2)
        self.tasks.initialise(widths.gain, widths.norm_deviation, generator)

    def trainer(self, problem, seed):
        """Begin a training run on the problem's device: initialise from `seed`, fit the scale of the features."""
        return Trainer(self, problem, seed)

    def gaussians(self, aligned):
        """n x aligned -> the mean and log-variance, n x k each, of the latents."""
        return widen(self.common(aligned)).chunk(2, -1)

    @torch.no_grad()
    def fit_latents(self, features):
        """Fit the scale of the latents that the classifier reads to the means of N x d_x scaled features.

        Trained latents are small, and a linear classifier's learning rate would have to be found anew for every data
        set. `standardised` divides each dimension by its standard deviation, `raw`, the paper's way, leaves it alone.
        """
        if self.config.latents == "raw":
            return
        means = torch.cat([self.gaussians(self.visual(block))[0] for block in features.split(4096)])
        self.centre.copy_(means.mean(0))
        self.spread.copy_(means.std(0, correction=0).clamp_min(1e-6))

    @of_input_alone
    def encode(self, features):
        """N x d_x features as extracted -> N x k latent means, on the classifier's scale."""
        blocks = features.split(4096)
        return torch.cat([self._rescale(self.gaussians(self.visual(self.scale(block)))[0]) for block in blocks])

    @torch.no_grad()
    def classifier_set(self, problem, seed, unseen_only=False):
        """Latents and labels for the linear classifier, on its scale: M x k and M.

        Of a seen class `seen_samples`, drawn from Gaussians of its images, each used once before one is used twice.
        Of an unseen class `unseen_samples`, drawn from the Gaussian of its semantics; `czsl_samples` if `unseen_only`.
        """
        generator = torch.Generator(problem.features.device).manual_seed(seed)
        seen, unseen = len(problem.seen), len(problem.unseen)
        samples = self.config.czsl_samples if unseen_only else self.config.unseen_samples
        labels = torch.arange(unseen, device=problem.features.device).repeat_interleave(samples)
        means, log_variances = self.gaussians(self.semantic(problem.unseen))
        latents = [self._sample(means[labels], log_variances[labels], generator)]
        labels = [labels + seen]
        if not unseen_only:
            rows = rows_of_classes(problem.labels, seen, self.config.seen_samples, generator)
            for block in rows.split(4096):
                gaussians = self.gaussians(self.visual(self.scale(problem.features[block])))
                latents.append(self._sample(*gaussians, generator))
            labels.append(problem.labels[rows])
        return self._rescale(torch.cat(latents)), torch.cat(labels)

    def expand(self, inputs):
        """Latents are what the classifier reads."""
        return inputs

    def head(self, semantics, width, generator):
        """How the linear classifier begins: Xavier-uniform with the networks' gain, as in the released program."""
        gain = self.config.networks.gain
        return classifier.begin(len(semantics), width, lambda weight: nn.init.xavier_uniform_(weight, gain, generator))

    def _rescale(self, latents):
        return (latents - self.centre) / self.spread

    def _sample(self, means, log_variances, generator):
        width = 1 if self.config.reparameterization == "released" else means.shape[1]
        noise = torch.randn(len(means), width, generator=generator, device=means.device)
        return draw(means, log_variances, noise, self.config.reparameterization)


def rows_of_classes(labels, classes, samples, generator):
    """`samples` rows of each class that N `labels` name, in random order; a class with fewer rows repeats them."""
    shuffled = torch.randperm(len(labels), generator=generator, device=labels.device)
    grouped = shuffled[labels[shuffled].argsort(stable=True)]
    counts = labels.bincount(minlength=classes)
    starts = counts.cumsum(0) - counts
    present = counts > 0
    places = torch.arange(samples, device=labels.device) % counts[present, None] + starts[present, None]
    return grouped[places.flatten()]
