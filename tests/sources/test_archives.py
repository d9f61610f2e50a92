"""Archives: random access, refusal of hostile and damaged ones, the .tgz made readable, little memory."""

import gzip
import io
import multiprocessing
import os
import pickle
import stat
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.common.errors import UserError
from pipeline.sources import archives, packing

CONTENT = {f"images/class {i % 3}/ü{i:03d}.jpg": os.urandom(100 + i) for i in range(40)}


def tar_bytes(entries, **keywords):
    """A tar of (TarInfo fields, content) pairs."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", **keywords) as tar:
        for fields, content in entries:
            info = tarfile.TarInfo(fields["name"])
            info.size = len(content)
            for key, value in fields.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return file.getvalue()


@pytest.fixture(params=["zip", "deflated zip", "pax tar", "gnu tar"])
def archive(request, tmp_path):
    """An archive of CONTENT in a raw folder, in each form."""
    if "zip" in request.param:
        path = tmp_path / "images.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if "deflated" in request.param else 0) as file:
            file.mkdir("images")
            for name, content in CONTENT.items():
                file.writestr(name, content)
        return path
    path = tmp_path / "images.tar"
    form = tarfile.PAX_FORMAT if "pax" in request.param else tarfile.GNU_FORMAT
    entries = [({"name": f"./{name}"}, content) for name, content in CONTENT.items()]
    path.write_bytes(tar_bytes([({"name": "images", "type": tarfile.DIRTYPE}, b""), *entries], format=form))
    return path


def test_members_are_listed_and_read_in_any_order(archive):
    opened = archives.Archive(archive)
    assert opened.names == list(CONTENT)
    for name in reversed(CONTENT):
        assert opened.read(name) == CONTENT[name]
    with pytest.raises(UserError, match=r"holds no file 'images/none\.jpg'"):
        opened.read("images/none.jpg")


def _read_all(images):
    return [images.read(f"{name}") for name in _addresses(images.raw)]


def _addresses(raw):
    return [f"{next(iter(raw.glob('images.*'))).name}/{name}" for name in CONTENT]


def test_images_pass_to_threads_forks_and_spawned_processes(archive):
    images = archives.Images(archive.parent)
    expected = list(CONTENT.values())
    assert _read_all(images) == expected
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(images.read, _addresses(images.raw) * 5)) == expected * 5
    assert _read_all(pickle.loads(pickle.dumps(images))) == expected
    # the parent has the archive open: children that share its file position would read one another's bytes
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map(images.read, _addresses(images.raw) * 5, chunksize=1) == expected * 5


HOSTILE = {
    "absolute path": ({"name": "/etc/passwd"}, "points out of the archive"),
    "path upwards": ({"name": "images/../../x.jpg"}, "points out of the archive"),
    "backslashes upwards": ({"name": "images\\..\\..\\x.jpg"}, "points out of the archive"),
    "drive": ({"name": "C:/x.jpg"}, "points out of the archive"),
    "link upwards": ({"name": "a/link", "type": tarfile.SYMTYPE, "linkname": "../../x"}, "link 'a/link' points out"),
    "absolute link": ({"name": "link", "type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "link 'link' points out"),
    "hard link": ({"name": "a/b/link", "type": tarfile.LNKTYPE, "linkname": "../x"}, "link 'a/b/link' points out"),
    "device": ({"name": "disk", "type": tarfile.BLKTYPE}, "'disk' is a device"),
    "pipe": ({"name": "pipe", "type": tarfile.FIFOTYPE}, "'pipe' is a device"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("packed", [False, True])
def test_hostile_tar_is_refused(tmp_path, case, packed):
    fields, message = HOSTILE[case]
    data = tar_bytes([({"name": "images/good.jpg"}, b"good"), (fields, b"")])
    with pytest.raises(UserError, match=message):
        if packed:
            (tmp_path / "x.tgz").write_bytes(gzip.compress(data))
            packing.untar_gz(tmp_path / "x.tgz", tmp_path / "images.tar")
        else:
            (tmp_path / "images.tar").write_bytes(data)
            archives.Archive(tmp_path / "images.tar")
    assert not packed or not (tmp_path / "images.tar").exists()


def test_a_link_inside_the_archive_leads_to_its_bytes(tmp_path):
    link = {"name": "a/link", "type": tarfile.SYMTYPE, "linkname": "../good.jpg"}
    (tmp_path / "images.tar").write_bytes(tar_bytes([({"name": "good.jpg"}, b"good"), (link, b"")]))
    archive = archives.Archive(tmp_path / "images.tar")
    assert archive.names == ["good.jpg", "a/link"]
    assert archive.read("a/link") == b"good"


@pytest.mark.parametrize(
    ("name", "mode", "content", "message"),
    [
        ("../x.jpg", stat.S_IFREG, b"x", "points out of the archive"),
        ("/x.jpg", stat.S_IFREG, b"x", "points out of the archive"),
        ("a\\..\\..\\x.jpg", stat.S_IFREG, b"x", "points out of the archive"),
        ("link", stat.S_IFLNK, b"../../etc/passwd", "link 'link' points out"),
        ("disk", stat.S_IFBLK, b"", "'disk' is a device"),
    ],
)
def test_hostile_zip_is_refused(tmp_path, name, mode, content, message):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, (mode | 0o644) << 16
        file.writestr(info, content)
    with pytest.raises(UserError, match=message):
        archives.Archive(tmp_path / "images.zip")


def test_bombs_are_refused_before_they_fill_anything(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros.jpg", bytes(80 << 20))
    with pytest.raises(UserError, match="decompression bomb"):
        archives.Archive(tmp_path / "bomb.zip")
    (tmp_path / "bomb.tgz").write_bytes(gzip.compress(tar_bytes([({"name": "zeros"}, bytes(80 << 20))]), 1))
    with pytest.raises(UserError, match="decompression bomb"):
        packing.untar_gz(tmp_path / "bomb.tgz", tmp_path / "images.tar")
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".tar"] == []


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    latin = tar_bytes([({"name": "images/Käuz.jpg"}, b"x")], format=tarfile.GNU_FORMAT, encoding="latin-1")
    (tmp_path / "images.tar").write_bytes(latin)
    with pytest.raises(UserError, match=r"images\.tar: the name of member 'images/K\\udce4uz\.jpg' is not UTF-8"):
        archives.Archive(tmp_path / "images.tar")
    (tmp_path / "birds").mkdir()
    (tmp_path / os.fsdecode(b"birds/K\xe4uz.jpg")).write_bytes(b"x")
    with pytest.raises(UserError, match=r"birds: the name of member 'birds/K\\udce4uz\.jpg' is not UTF-8"):
        packing.pack(tmp_path / "birds", tmp_path / "a.tar")
    assert not (tmp_path / "a.tar").exists()


def test_endless_long_names_are_refused(tmp_path):
    longer = tarfile.TarInfo("././@LongLink")
    longer.type, longer.size = tarfile.GNUTYPE_LONGNAME, 1
    (tmp_path / "images.tar").write_bytes((longer.tobuf() + b"a".ljust(512, b"\0")) * 2000)
    with pytest.raises(UserError, match=r"images\.tar: the archive is damaged"):
        archives.Archive(tmp_path / "images.tar")


def test_tgz_becomes_the_tar_inside_it(tmp_path):
    data = tar_bytes([({"name": name}, content) for name, content in CONTENT.items()])
    (tmp_path / "x.tgz").write_bytes(gzip.compress(data))
    packing.untar_gz(tmp_path / "x.tgz", tmp_path / "images.tar")
    assert (tmp_path / "images.tar").read_bytes() == data


@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_archives_that_are_cut_off_are_refused(tmp_path, share):
    tar = tar_bytes([({"name": name}, content) for name, content in CONTENT.items()])
    tar = tar[: len(CONTENT) * 1024 + 1024]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name, content in CONTENT.items():
            file.writestr(name, content)
    for name, data in (("a.tar", tar), ("a.tgz", gzip.compress(tar)), ("a.zip", packed.getvalue())):
        (tmp_path / name).write_bytes(data[: int(share * len(data))])
        with pytest.raises(UserError, match="cut off"):
            if name.endswith("tgz"):
                packing.untar_gz(tmp_path / name, tmp_path / "images.tar")
            else:
                archives.Archive(tmp_path / name)
    assert not (tmp_path / "images.tar").exists()


def test_damaged_member_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        file.writestr("one.jpg", b"0123456789")
    data = (tmp_path / "images.zip").read_bytes()
    (tmp_path / "images.zip").write_bytes(data.replace(b"0123456789", b"0123456780", 1))
    with pytest.raises(UserError, match=r"'one.jpg' is damaged"):
        archives.Archive(tmp_path / "images.zip").read("one.jpg")


def test_text_is_no_archive(tmp_path):
    (tmp_path / "page.zip").write_text("<html>not found</html>" * 100)
    with pytest.raises(UserError, match=r"is not a \.zip or an uncompressed \.tar"):
        archives.Archive(tmp_path / "page.zip")


def test_packed_folder_is_the_same_each_time(tmp_path):
    for name, content in CONTENT.items():
        path = tmp_path / "birds" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    packing.pack(tmp_path / "birds", tmp_path / "a.tar")
    os.utime(path, (0, 0))
    packing.pack(tmp_path / "birds", tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    opened = archives.Archive(tmp_path / "a.tar")
    assert {name: opened.read(f"birds/{name}") for name in CONTENT} == CONTENT


def test_files_are_found_by_role_and_end_of_path(tmp_path):
    with zipfile.ZipFile(tmp_path / "splits.zip", "w") as file:
        file.writestr("xlsa17/data/CUB/att_splits.mat", b"cub")
        file.writestr("xlsa17/data/SUN/att_splits.mat", b"sun")
    (tmp_path / "labels.mat").write_bytes(b"labels")
    assert archives.extract(tmp_path, "splits", "SUN/att_splits.mat") == b"sun"
    assert archives.extract(tmp_path, "splits", "UB/att_splits.mat") is None
    assert archives.extract(tmp_path, "labels", "imagelabels.mat") == b"labels"
    assert archives.extract(tmp_path, "labels", "imagelabels.txt") is None
    with pytest.raises(UserError, match=r"more than once"):
        archives.extract(tmp_path, "splits", "att_splits.mat")
    with pytest.raises(UserError, match=r"holds no APY/att_splits.mat"):
        archives.need(tmp_path, "splits", "APY/att_splits.mat")


def test_images_are_addressed_below_whatever_folder_holds_them(archive):
    names = [name.removeprefix("images/") for name in reversed(CONTENT)]
    found = archives.addresses(archive.parent, "images", names)
    assert found == [f"{archive.name}/images/{name}" for name in names]
    assert archives.addresses(archive.parent, "images", ["class 9/none.jpg"]) == [""]
    assert archives.addresses(archive.parent, "photographs", names) == [""] * len(names)
    with pytest.raises(UserError, match=r"lacks 2 of 42 images, 'images/class 9/a\.jpg' first"):
        archives.addresses(archive.parent, "images", [*names, "class 9/a.jpg", "class 9/b.jpg"])


LARGE = r"""
import multiprocessing, re, sys
from pipeline.sources import archives, packing
def peak(_=None):
    # not ru_maxrss, which begins with what the process that started this one held
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) // 1024
images = archives.Images(sys.argv[1])
names = [f"images.zip/JPEGImages/a/{i:05d}.jpg" for i in (0, 37321, 20000)]
assert [images.read(name) for name in names] == [b"image %d" % i for i in (0, 37321, 20000)]
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(images.read, names) == [b"image %d" % i for i in (0, 37321, 20000)]
    print(max(pool.map(peak, range(4))))
print(peak())
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc to read the peak memory from")
def test_zip_of_13_gb_and_37322_images_takes_little_memory(tmp_path):
    """A sparse file: its holes hold no bytes, its offsets need zip64 as AwA2-data.zip's do."""
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        for i in range(37322):
            # the next member is written that much further on
            file.start_dir += 360_000 if i else 0
            file.writestr(zipfile.ZipInfo(f"JPEGImages/a/{i:05d}.jpg"), b"image %d" % i)
    state = (tmp_path / "images.zip").stat()
    assert state.st_size > 13e9
    if state.st_blocks * 512 > 2e9:
        pytest.skip("this file system has no sparse files")
    done = subprocess.run([sys.executable, "-c", LARGE, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    print(done.stdout.split(), "MB")
    assert max(map(int, done.stdout.split())) < 500
