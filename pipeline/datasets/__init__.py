"""The data sets, a module each, what they share in `base`, and what is built of them: index, semantics, splits.

A new one is a module here, its name in `pipeline.common.params.DATASETS`, and a section of params.yaml. May import
`sources` and `common`.
"""
