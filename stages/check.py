"""Check all of params.yaml before anything long begins."""

from pipeline import schema
from pipeline.common import files, params
from pipeline.common.errors import one_line
from pipeline.common.record import recorded


@one_line
@recorded
def main():
    given = params.load()
    schema.check(given)
    # the same words for all good params, so that what depends on this stage does not run again
    with files.replacing("data/params.checked", "w") as file:
        file.write("params.yaml was checked\n")
    print(f"params.yaml is sound: {', '.join(given.value('datasets'))} with {given.value('model')}", flush=True)


if __name__ == "__main__":
    main()
