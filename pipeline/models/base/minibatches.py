"""The rows of minibatches, each drawn from all images without replacement, as both models' programs draw them."""

import torch


def rows(batches, size, images, generator):
    """batches x n rows of `images`, on the generator's device; n is `size`, or all images where these are fewer.

    Within a minibatch no row occurs twice; minibatches are independent, so an epoch need not meet every image. Floyd's
    sampling, for all minibatches at once: its cost does not grow with the number of images, as that of a permutation
    for each minibatch would. (Bentley and Floyd, "A sample of brilliance", CACM 30(9), 1987. The rows are a uniformly
    random set; their order within the minibatch, of which no loss takes notice, is not random.)
    """
    size = min(size, images)
    drawn = torch.empty(batches, size, dtype=torch.int64, device=generator.device)
    for place, last in enumerate(range(images - size, images)):
        row = torch.randint(last + 1, (batches,), generator=generator, device=generator.device)
        taken = (drawn[:, :place] == row[:, None]).any(1)
        drawn[:, place] = torch.where(taken, last, row)
    return drawn
