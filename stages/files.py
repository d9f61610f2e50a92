"""Note which files of your own (`<data set>.files`) there are: data/files/<data set>/<kind>.json, path and checksum."""

import dataclasses

from pipeline.common import params
from pipeline.common.errors import one_line
from pipeline.common.record import recorded
from pipeline.datasets import own, semantics_file
from pipeline.datasets.base import Files
from pipeline.datasets.base import registry as datasets


@one_line
@recorded
def main():
    given = params.load()
    for name in params.DATASETS:
        paths = given.section(f"{name}.files", Files)
        features, semantics, splits = map(own.found, (paths.features, paths.semantics, paths.splits))
        module = datasets.get(name)
        if hasattr(module, "OWN"):
            # its list of classes may be the semantics file's, its list of images that of the features
            classes = semantics_file.class_names(semantics.path) if semantics.path else None
            alone = features.path is not None and given.section("folder.sources", module.Sources).images is None
            splits = dataclasses.replace(splits, classes=classes, rows=dataclasses.asdict(features) if alone else None)
            features = dataclasses.replace(features, classes=classes, rows={} if alone else None)
        for kind, file in (("features", features), ("semantics", semantics), ("splits", splits)):
            own.write(name, kind, file)
            if file.path:
                print(f"files {name}: {kind} of {file.path}", flush=True)


if __name__ == "__main__":
    main()
