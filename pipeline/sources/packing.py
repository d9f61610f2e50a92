"""Making an archive that can be read at random: of a folder, of a .tgz."""

import gzip
import os
import tarfile
import zlib
from pathlib import Path

from tqdm import tqdm

from pipeline.common import files
from pipeline.common.errors import UserError
from pipeline.sources import archives, walk
from pipeline.sources.archives import names

BLOCK = 1 << 20


def untar_gz(source, target, desc=None):
    """Write the .tar inside the gzipped `source` to `target`, streamed; the checked `Archive`.

    Raises UserError where it is cut off, damaged, expands absurdly, or holds no tar that `Archive` takes.
    """
    packed = Path(source).stat().st_size
    with (
        open(source, "rb") as file,
        tqdm(total=packed, unit="B", unit_scale=True, desc=desc or f"unzip {Path(source).name}", disable=None) as bar,
        files.replacing(target) as out,
    ):
        written = 0
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                while block := stream.read(BLOCK):
                    written += len(block)
                    archives.check_expansion(source, written, packed)
                    out.write(block)
                    bar.update(file.tell() - bar.n)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"{source}: the archive is damaged or cut off ({error}); fetch it again") from None
    try:
        return archives.Archive(target, source)
    except UserError:
        Path(target).unlink()
        raise


def pack(folder, target):
    """Write the files of a folder to an uncompressed .tar, sorted by path, the folder's name first in each.

    Links are followed (see `walk.below`), and a folder that holds nothing is in it too. Dates and owners are left out,
    so that the same files always give the same archive. Raises UserError that names what cannot be read.
    """
    folder = Path(folder).resolve()
    found = walk.below(folder)
    if found.faults:
        raise UserError(f"{folder}: {walk.told(found.faults)}; mend or remove what cannot be read")
    if not found.files:
        raise UserError(f"{folder}: the folder holds no files")
    if found.passed:
        print(f"{folder}: left out: {walk.told(found.passed)}", flush=True)
    with files.replacing(target) as out, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        everything = sorted([*found.files, *found.empty])
        for path in tqdm(everything, desc=f"pack {folder.name}", unit="file", disable=None):
            info = tarfile.TarInfo(f"{folder.name}/{path.relative_to(folder).as_posix()}")
            names.checked(folder, info.name)
            if path.is_dir():
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
                continue
            with open(path, "rb") as file:
                info.size = os.fstat(file.fileno()).st_size
                tar.addfile(info, file)
