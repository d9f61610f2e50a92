"""The models, a package each, and in `base` what all of them are built of.

A new one is a package here, its name in `pipeline.common.params.MODELS`, and a section of params.yaml. May import
`common`.
"""
