"""Folders and archives as people pack them: everything in them is read, named, or an error; never a smaller set."""

import io
import os
import tarfile
import zipfile
import zlib

import pytest

from pipeline.common.errors import UserError
from pipeline.sources import archives, packing
from tests.sources.test_archives import tar_bytes


def written(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def packed(folder, target):
    packing.pack(folder, target)
    archive = archives.Archive(target)
    return {name: archive.read(name) for name in archive.names}


def test_links_are_followed_to_folders_and_files_and_loops_end(tmp_path, capsys):
    birds = written(tmp_path / "birds", "owl/a.jpg", "wren/b.jpg")
    written(tmp_path / "elsewhere", "c.jpg")
    (birds / "gull").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (birds / "owl/d.jpg").symlink_to(birds / "wren/b.jpg")
    (birds / "wren/up").symlink_to(birds, target_is_directory=True)
    found = packed(birds, tmp_path / "images.tar")
    assert {name: data.decode() for name, data in found.items()} == {
        "birds/gull/c.jpg": "c.jpg",
        "birds/owl/a.jpg": "owl/a.jpg",
        "birds/owl/d.jpg": "wren/b.jpg",
        "birds/wren/b.jpg": "wren/b.jpg",
    }
    assert "leads back to a folder that holds it" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["nowhere", "circle", "unreadable folder", "unreadable file"])
def test_what_cannot_be_read_is_named(tmp_path, kind, monkeypatch):
    birds = written(tmp_path / "birds", "owl/a.jpg", "wren/b.jpg")
    if kind == "nowhere":
        (birds / "owl/lost.jpg").symlink_to(tmp_path / "moved.jpg")
        message = r"lost\.jpg' is a link to '.*moved\.jpg', where nothing is"
    elif kind == "circle":
        (birds / "owl/lost.jpg").symlink_to(birds / "owl/lost.jpg")
        message = r"lost\.jpg' is a link that leads round in a circle"
    elif kind == "unreadable folder":
        # permissions stop no one who runs as root
        listed = os.listdir

        def refuse(place):
            if str(place).endswith("owl"):
                raise PermissionError(13, "Permission denied", str(place))
            return listed(place)

        monkeypatch.setattr(os, "listdir", refuse)
        message = r"owl' is a folder that cannot be read \(Permission denied\)"
    else:
        monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("a.jpg"))
        message = r"a\.jpg' is a file that may not be read"
    with pytest.raises(UserError, match=message):
        packing.pack(birds, tmp_path / "images.tar")
    assert not (tmp_path / "images.tar").exists()


def test_hard_and_symbolic_links_in_a_tar_lead_to_their_bytes(tmp_path):
    def link(name, target, kind):
        return {"name": name, "linkname": target, "type": kind}, b""

    (tmp_path / "images.tar").write_bytes(
        tar_bytes(
            [
                ({"name": "all/1.jpg"}, b"one"),
                link("owl/1.jpg", "all/1.jpg", tarfile.LNKTYPE),
                link("owl/2.jpg", "1.jpg", tarfile.SYMTYPE),
                link("owl/3.jpg", "2.jpg", tarfile.SYMTYPE),
                link("wren", "owl", tarfile.SYMTYPE),
                link("lost.jpg", "none.jpg", tarfile.SYMTYPE),
            ]
        )
    )
    archive = archives.Archive(tmp_path / "images.tar")
    names = {f"{place}/{i}.jpg" for place in ("owl", "wren") for i in (1, 2, 3)} | {"all/1.jpg"}
    assert set(archive.names) == names
    assert {archive.read(name) for name in names} == {b"one"}
    assert archive.broken == {"lost.jpg": "leads to 'none.jpg', which is not in the archive"}


def test_a_size_below_zero_does_not_read_backwards_for_ever(tmp_path):
    data = bytearray(tar_bytes([({"name": "a.jpg"}, b"a"), ({"name": "b.jpg"}, b"b")]))
    data[124:136] = b"\xff" * 11 + b"\x00"
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    (tmp_path / "images.tar").write_bytes(data)
    with pytest.raises(UserError, match=r"images\.tar"):
        archives.Archive(tmp_path / "images.tar")


def zipped(path, members, flag=None, method=None, raw=None):
    """A zip of {name: bytes} in which fields of all headers are overwritten."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    packed = bytearray(data.getvalue())
    for sign, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = packed.find(sign)
        while start >= 0:
            if flag is not None:
                packed[start + at : start + at + 2] = flag.to_bytes(2, "little")
            if method is not None:
                packed[start + at + 2 : start + at + 4] = method.to_bytes(2, "little")
            start = packed.find(sign, start + 4)
    path.write_bytes(bytes(packed).replace(*raw) if raw else packed)
    return path


@pytest.mark.parametrize("form", ["as the flag says", "as a Mac does, without the flag", "in a Windows code page"])
def test_names_that_are_not_ascii_are_read_or_told_to_be_unsure(tmp_path, form):
    name = "Mäusebussard/ü.jpg"
    flag = None if form == "as the flag says" else 0
    raw = (name.encode(), "Mäusebussard/ü.jpg!!".encode("cp437")[: len(name.encode())]) if "Windows" in form else None
    archive = archives.Archive(zipped(tmp_path / "birds.zip", {name: b"x"}, flag=flag, raw=raw))
    assert bool(archive.unsure) == ("Windows" in form)
    assert raw or archive.names == [name]


def test_backslashes_are_slashes(tmp_path):
    path = zipped(tmp_path / "birds.zip", {"images/owl/a.jpg": b"x"}, raw=(b"images/owl/a.jpg", b"images\\owl\\a.jpg"))
    assert archives.Archive(path).names == ["images/owl/a.jpg"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": 9}, "packed by Deflate64, which is not read; unpack the archive"),
        ({"method": 98}, "packed by PPMd"),
        ({"method": 77}, "packed by method 77"),
        ({"flag": 1}, "is encrypted; unpack the archive with its password"),
    ],
)
def test_what_is_not_damage_is_not_called_so(tmp_path, change, message):
    with pytest.raises(UserError, match=message) as told:
        archive = archives.Archive(zipped(tmp_path / "birds.zip", {"a.jpg": b"x" * 100}, **change))
        archive.read("a.jpg")
    assert "damaged" not in str(told.value)


def test_damage_is_called_so(tmp_path):
    path = zipped(tmp_path / "birds.zip", {"a.jpg": bytes(range(256)) * 4})
    data = path.read_bytes()
    sound = zlib.crc32(bytes(range(256)) * 4).to_bytes(4, "little")
    path.write_bytes(data.replace(sound, b"\0\1\2\3"))
    with pytest.raises(UserError, match="damaged"):
        archives.Archive(path).read("a.jpg")
