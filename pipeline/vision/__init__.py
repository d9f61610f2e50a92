"""From bytes to features: images decoded, a backbone's weights, its fine-tuning, the features of all images.

May import `datasets`, `sources` and `common`.
"""
