"""The mean of weights over epochs, which is judged in their place: what the last steps happened to do counts less."""

import torch


class Averaged:
    """Weights (parameters), of which the mean is in their place from `end` of an epoch to `begin` of the next.

    share: what an epoch leaves of the mean before it, so that it is one over about 1 / (1 - share) epochs. At 0 nothing
    is kept and nothing done.
    """

    def __init__(self, weights, share):
        self.weights, self.share = list(weights), share
        # the other of the two: the mean while training, otherwise the weights as the last step left them
        self.aside = []

    def begin(self):
        """Put back the weights as the last step left them."""
        self._exchange()

    @torch.no_grad()
    def end(self):
        """Bring the mean up to date with the weights, the first of which it begins as, and put it in their place."""
        if self.share and self.aside:
            torch._foreach_lerp_(self.aside, self.weights, 1 - self.share)
            self._exchange()
        elif self.share:
            self.aside = [weight.clone() for weight in self.weights]

    @torch.no_grad()
    def _exchange(self):
        if self.aside:
            held = [weight.clone() for weight in self.weights]
            torch._foreach_copy_(self.weights, self.aside)
            torch._foreach_copy_(self.aside, held)

    def state(self):
        """What going on needs between two epochs, beside the weights in place."""
        return [weight.clone() for weight in self.aside]

    def load(self, state):
        """Go on where `state` was taken. Raises ValueError where it is of other weights."""
        shapes = [weight.shape for weight in self.weights] if self.share else []
        if [weight.shape for weight in state] != shapes:
            raise ValueError("its weights laid aside are not of these networks")
        self.aside = [weight.to(mine.device) for weight, mine in zip(state, self.weights, strict=False)]
