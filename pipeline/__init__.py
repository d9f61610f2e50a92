"""Zero-shot learning from raw images to generalised results, as a DVC pipeline."""
