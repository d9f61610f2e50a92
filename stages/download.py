"""Bring a data set's published files into data/<data set>/raw: fetched, or drawn where the data set draws itself."""

from pathlib import Path
from typing import Literal

from pipeline.common import arguments, params
from pipeline.common.errors import one_line
from pipeline.common.record import recorded
from pipeline.datasets.base import registry as datasets
from pipeline.sources import download


@one_line
@recorded
def main():
    args = arguments.parse(__doc__, "dataset")
    given = params.load()
    module = datasets.get(args.dataset)
    key = f"{args.dataset}.sources"
    sources = given.section(key, module.Sources)
    raw = Path("data", args.dataset, "raw")
    if hasattr(module, "make"):
        with download.refilled(raw) as new:
            module.make(new, sources)
        print(f"download {args.dataset}: made", flush=True)
        return
    wanted = given.section("features.source", Literal["images", "published"])
    if given.section(f"{args.dataset}.files.features", str) != params.NO_FILE:
        # features of one's own need neither
        wanted = "features of a file"
    semantics = given.section(f"{args.dataset}.semantics", module.SEMANTICS)
    asked = [wanted, "sentences"] if semantics == "sentences" else [wanted]
    store = given.section("run.archives", str)
    print(f"download {args.dataset}: {wanted} and annotations, archives kept in {store}", flush=True)
    download.fill(raw, vars(sources), store, asked, key)


if __name__ == "__main__":
    main()
