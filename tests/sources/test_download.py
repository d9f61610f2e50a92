"""Downloads, against a server on this machine: resumed, restarted, refused, over mirrors, killed."""

import gzip
import hashlib
import os
import signal
import subprocess
import sys
import tarfile
import time

import pytest

from pipeline.common.errors import UserError
from pipeline.datasets.base import Source
from pipeline.sources import download
from tests.server import serving

# long enough to be cut anywhere; it begins as a .tgz does, which is all that a download looks at
DATA = b"\x1f\x8b" + os.urandom(2_999_998)
DATA_TGZ = gzip.compress(os.urandom(10_000))
SHA256 = hashlib.sha256(DATA).hexdigest()
MD5 = hashlib.md5(DATA).hexdigest()
KEY = "cub.sources.images"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.0)


def obtain(store, *urls, **fields):
    return download.obtain(Source(list(urls), **fields), store, KEY)


def leftovers(store):
    return sorted(path.name for path in store.iterdir() if not path.name.startswith("."))


def test_fetched_checked_noted_and_not_fetched_again(tmp_path, capsys):
    with serving({"a.tgz": DATA}) as site:
        for _ in range(2):
            path = obtain(tmp_path, f"{site.url}/a.tgz")
            assert path == tmp_path / "a.tgz"
            assert path.read_bytes() == DATA
        assert len(site.log) == 1
    # no checksum was stated: what came is written down for the user to pin
    assert SHA256 in capsys.readouterr().out
    assert SHA256 in (tmp_path / "a.tgz.json").read_text()
    assert leftovers(tmp_path) == ["a.tgz", "a.tgz.json"]


def test_goes_on_where_the_connection_broke(tmp_path):
    with serving({"a.tgz": DATA}, breaks=[1_000_000, 700_000, 0, 1]) as site:
        assert obtain(tmp_path, f"{site.url}/a.tgz", sha256=SHA256).read_bytes() == DATA
        starts = [start for _, start, _ in site.log]
        assert starts == sorted(starts)
        assert starts[1] >= 1_000_000 - download.BLOCK
        assert sum(sent for *_, sent in site.log) <= len(DATA) + 4 * download.BLOCK


def test_starts_again_where_the_server_takes_no_ranges(tmp_path):
    with serving({"a.tgz": DATA}, breaks=[1_000_000], ranges=False) as site:
        assert obtain(tmp_path, f"{site.url}/a.tgz").read_bytes() == DATA
        assert [start for _, start, _ in site.log] == [0, 0]


def test_starts_again_where_the_file_has_changed_meanwhile(tmp_path):
    other = b"\x1f\x8b" + os.urandom(1_999_998)
    with serving({"a.tgz": DATA}, breaks=[1_000_000, *[0] * 10]) as site:
        with pytest.raises(UserError, match="cannot be fetched"):
            obtain(tmp_path, f"{site.url}/a.tgz")
        assert (tmp_path / "a.tgz.part").stat().st_size > 900_000
        site.files["a.tgz"], site.etag["a.tgz"], site.breaks = other, "2", []
        assert obtain(tmp_path, f"{site.url}/a.tgz").read_bytes() == other


def test_starts_again_where_the_length_has_changed_and_nothing_else_says_so(tmp_path):
    other = DATA[:2_000_000]
    with serving({"a.tgz": other}) as site:
        (tmp_path / "a.tgz.part").write_bytes(DATA[::-1][:1_000_000])
        note = f'{{"url": "{site.url}/a.tgz", "validator": null, "size": {len(DATA)}}}'
        (tmp_path / "a.tgz.part.json").write_text(note)
        assert obtain(tmp_path, f"{site.url}/a.tgz").read_bytes() == other


def test_a_server_that_never_gets_further_is_given_up(tmp_path):
    with serving({"a.tgz": DATA}, breaks=[500_000] * 100, ranges=False) as site:
        with pytest.raises(UserError, match="cannot be fetched"):
            obtain(tmp_path, f"{site.url}/a.tgz")
        assert len(site.log) == download.TRIES + 1


def test_a_part_that_is_already_whole_needs_no_byte(tmp_path):
    with serving({"a.tgz": DATA}) as site:
        (tmp_path / "a.tgz.part").write_bytes(DATA)
        (tmp_path / "a.tgz.part.json").write_text(f'{{"url": "{site.url}/a.tgz", "validator": "\\"1\\""}}')
        assert obtain(tmp_path, f"{site.url}/a.tgz").read_bytes() == DATA
        assert site.log == [("a.tgz", len(DATA), 0)]


def test_a_part_longer_than_the_file_is_thrown_away(tmp_path):
    with serving({"a.tgz": DATA}) as site:
        (tmp_path / "a.tgz.part").write_bytes(DATA + b"more")
        (tmp_path / "a.tgz.part.json").write_text(f'{{"url": "{site.url}/a.tgz", "validator": null}}')
        assert obtain(tmp_path, f"{site.url}/a.tgz").read_bytes() == DATA


def test_falls_back_over_mirrors(tmp_path):
    with serving({"bad/a.tgz": b"x" * 1000, "down/a.tgz": DATA, "good/a.tgz": DATA}) as site:
        site.status["down/a.tgz"] = 503
        urls = [f"{site.url}/{place}/a.tgz" for place in ("gone", "bad", "down", "good")]
        urls.insert(0, "http://127.0.0.1:9/a.tgz")
        assert obtain(tmp_path, *urls, md5=MD5).read_bytes() == DATA


def test_a_mirror_goes_on_with_the_first_ones_part_only_if_a_checksum_will_tell(tmp_path):
    for pinned in (True, False):
        with serving({"one/a.tgz": DATA, "two/a.tgz": DATA}, breaks=[1_000_000, *[0] * download.TRIES]) as site:
            store = tmp_path / str(pinned)
            obtain(store, f"{site.url}/one/a.tgz", f"{site.url}/two/a.tgz", sha256=SHA256 if pinned else None)
            path, start, _ = site.log[-1]
            assert path == "two/a.tgz"
            assert (start > 900_000) == pinned


def test_wrong_checksum_is_one_line_and_leaves_nothing(tmp_path):
    message = rf"{KEY}: cannot be fetched: .*its sha256 is {SHA256}, not 00"
    with serving({"a.tgz": DATA}) as site, pytest.raises(UserError, match=message) as caught:
        obtain(tmp_path, f"{site.url}/a.tgz", sha256="00" * 32)
    assert "\n" not in str(caught.value)
    assert leftovers(tmp_path) == []


def test_each_place_that_failed_is_named(tmp_path):
    with serving({}) as site, pytest.raises(UserError, match=r"404 Not Found.*9/a.tgz: connection refused"):
        obtain(tmp_path, f"{site.url}/a.tgz", "http://127.0.0.1:9/a.tgz")


def test_no_network_is_said_in_words(tmp_path):
    with pytest.raises(UserError, match="host's name is not known"):
        obtain(tmp_path, "http://name.invalid/a.tgz")


def test_a_file_that_the_user_put_there_is_taken_and_checked(tmp_path):
    (tmp_path / "a.tgz").write_bytes(DATA)
    assert obtain(tmp_path, "http://127.0.0.1:9/a.tgz", md5=MD5).read_bytes() == DATA
    with pytest.raises(UserError, match=f"has md5 {MD5}, not 00"):
        obtain(tmp_path, "http://127.0.0.1:9/a.tgz", md5="00" * 16)


def test_a_stored_file_of_the_same_name_from_elsewhere_is_not_taken(tmp_path):
    with serving({"one/a.mat": DATA, "two/a.mat": DATA}) as site:
        obtain(tmp_path, f"{site.url}/one/a.mat")
        with pytest.raises(UserError, match=r"was fetched from .*give cub\.sources\.images\.file a name of its own"):
            obtain(tmp_path, f"{site.url}/two/a.mat")
        assert obtain(tmp_path, f"{site.url}/two/a.mat", file="b.mat").name == "b.mat"
        # a checksum says more than where it came from
        assert obtain(tmp_path, f"{site.url}/two/a.mat", md5=MD5).name == "a.mat"


@pytest.mark.parametrize("form", ["{path}", "file://{path}"])
def test_local_paths_and_file_urls(tmp_path, form):
    place = tmp_path / "with blank.mat"
    place.write_bytes(DATA)
    url = form.format(path=str(place).replace(" ", "%20") if "://" in form else place)
    assert obtain(tmp_path / "store", url, md5=MD5) == place
    with pytest.raises(UserError, match="no such file or folder"):
        obtain(tmp_path / "store", form.format(path=tmp_path / "none.mat"))


def test_a_server_that_calls_a_tgz_an_encoded_tar_changes_no_byte(tmp_path):
    with serving({"a.tgz": DATA_TGZ}, encoding="x-gzip") as site:
        assert obtain(tmp_path, f"{site.url}/a.tgz").read_bytes() == DATA_TGZ


def test_two_at_once_fetch_once(tmp_path):
    with serving({"a.tgz": DATA}, pause=0.005) as site:
        running = [start(site, tmp_path) for _ in range(3)]
        assert [process.wait() for process in running] == [0, 0, 0]
        assert len(site.log) == 1
    assert (tmp_path / "a.tgz").read_bytes() == DATA


def start(site, store):
    code = (
        "import sys; from pipeline.sources import download; from pipeline.datasets.base import Source\n"
        "download.obtain(Source([sys.argv[1]], sha256=sys.argv[2]), sys.argv[3], 'key')"
    )
    return subprocess.Popen([sys.executable, "-c", code, f"{site.url}/a.tgz", SHA256, store], stdout=subprocess.DEVNULL)


def test_killed_again_and_again_it_fetches_no_byte_twice(tmp_path):
    """SIGKILL at about 10, 30, 50, 70 and 90 %: each run goes on at the very byte where the last one was cut off."""
    part = tmp_path / "a.tgz.part"
    held = []
    with serving({"a.tgz": DATA}) as site:
        for share in (0.1, 0.3, 0.5, 0.7, 0.9):
            site.stop = int(share * len(DATA)) // download.BLOCK * download.BLOCK
            process = start(site, tmp_path)
            while not (part.exists() and part.stat().st_size >= site.stop):
                assert process.poll() is None
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            process.wait()
            held.append(part.stat().st_size)
        site.stop = None
        assert start(site, tmp_path).wait() == 0
        starts = [first for _, first, _ in site.log]
    assert (tmp_path / "a.tgz").read_bytes() == DATA
    assert starts == [0, *held]
    assert leftovers(tmp_path) == ["a.tgz", "a.tgz.json"]


@pytest.mark.parametrize("note", ["null", "{}", "[1]", '{"url": 5}', "", '{"url": "URL", "size": "many"}'])
def test_a_damaged_note_is_set_aside_and_the_file_fetched_anew(tmp_path, note, capsys):
    with serving({"a.tgz": DATA}) as site:
        note = note.replace("URL", f"{site.url}/a.tgz")
        (tmp_path / "a.tgz.part").write_bytes(DATA[::-1][:1_000_000])
        (tmp_path / "a.tgz.part.json").write_text(note)
        assert obtain(tmp_path, f"{site.url}/a.tgz", sha256=SHA256).read_bytes() == DATA
        assert "a.tgz.part: its note is damaged; fetched anew" in capsys.readouterr().out
        (tmp_path / "a.tgz").write_bytes(DATA[::-1])
        (tmp_path / "a.tgz.json").write_text(note)
        assert obtain(tmp_path, f"{site.url}/a.tgz").read_bytes() == DATA
        assert "a.tgz: set aside as a.tgz.aside, for its note is damaged" in capsys.readouterr().out
        assert [start for _, start, _ in site.log] == [0, 0]


def test_raw_holds_each_needed_source_under_its_role(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"a")
    with tarfile.open(tmp_path / "photos.tgz", "w:gz") as tar:
        tar.add(tmp_path / "images", "jpg")
    (tmp_path / "labels.MAT").write_bytes(b"labels")
    local = {
        name: Source(str(tmp_path / path))
        for name, path in {"images": "photos.tgz", "annotations": "images", "labels": "labels.MAT"}.items()
    }
    sources = local | {
        "features": Source("nowhere", needed="published"),
        "sentences": Source("elsewhere", needed="sentences"),
        "classes": None,
    }
    raw = tmp_path / "data" / "raw"
    download.fill(raw, sources, tmp_path / "store", ["images"])
    assert sorted(path.name for path in raw.iterdir()) == ["annotations.tar", "images.tar", "labels.mat"]
    # what is the user's stays the user's
    assert (raw / "labels.mat").stat().st_ino != (tmp_path / "labels.MAT").stat().st_ino
    with pytest.raises(UserError, match=r"sources.features: cannot be fetched"):
        download.fill(raw, sources, tmp_path / "store", ["published"])
    with pytest.raises(UserError, match=r"sources.sentences: cannot be fetched"):
        download.fill(raw, sources, tmp_path / "store", ["images", "sentences"])


def test_a_page_instead_of_an_archive_is_not_kept(tmp_path):
    page = b"<html>moved</html>" * 100
    with serving({"a.tgz": page, "two/a.tgz": DATA_TGZ}) as site:
        with pytest.raises(UserError, match=r"is no archive, as a\.tgz should be"):
            obtain(tmp_path, f"{site.url}/a.tgz")
        assert leftovers(tmp_path) == []
        assert obtain(tmp_path, f"{site.url}/a.tgz", f"{site.url}/two/a.tgz").read_bytes() == DATA_TGZ
    (tmp_path / "b.zip").write_bytes(page)
    with pytest.raises(UserError, match=r"b\.zip: is no archive"):
        download.fill(tmp_path / "raw", {"images": Source(str(tmp_path / "b.zip"))}, tmp_path / "store", ["images"])


def test_an_archive_that_is_cut_off_leaves_raw_as_it_was(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/before").touch()
    with serving({"a.tgz": DATA_TGZ[:-100]}) as site, pytest.raises(UserError, match="damaged or cut off"):
        download.fill(tmp_path / "raw", {"images": Source(f"{site.url}/a.tgz")}, tmp_path / "store", ["images"])
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["before"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
