"""What `pipeline.study search` draws for ESZSL; its regularisers are chosen among by every selection anyway."""

from pipeline.models.base.space import OneOf

SPACE = {"wrong": OneOf((0, -1)), "scale": OneOf(("minmax", "none"))}
