"""From a server that fails to a prepared dataset, archives in place, and the authors' models."""

import errno
import re
from pathlib import Path

import pytest
from conftest import VGG16, Home, Outcome, tree, write_archive, write_files
from loopback import (
    Loopback,
    break_off,
    loopback_only,
    no_ranges,
    other,
    page,
    redirect,
    reset,
    status,
    unframed,
)
from test_sets import (
    MIT1003_URLS,
    OSIE_URL,
    SALICON_URLS,
    build,
    members_of,
    mit1003,
    osie,
    zipped,
)

import archive
import config
import download
import fetch
import images
from utils import UserError, digest

STIMULI_URL, MAPS_URL = MIT1003_URLS

# The sums that the sets' authors or the users before us have published.
PUBLISHED_MD5 = {
    "salicon": "eb2a1bb706633d1b31fc2e01422c5757",
    "mit1003": "0d7df8b954ecba69b6796e77b9afe4b6",
    "cat2000": "56ad5c77e6c8f72ed9ef2901628d6e48",
    "dutomron": "a8951db9297afacf78bc0e5079103cf1",
    "pascals": "e48b4e5deac08bddcaec55ce56e4d420",
    "osie": "8efdf6fe66f38b6e70f854c7ff45aa70",
}
SECOND_MD5 = {
    "salicon": "462b70f4f9e8ea446ac628e46cea8d3d",
    "dutomron": "d9f4f83fcc78b1e5efb579ae9fb0edc2",
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    loopback_only(monkeypatch)
    monkeypatch.setitem(config.FETCH, "first_pause", 0)


@pytest.fixture(scope="module")
def running():
    with Loopback({}) as server:
        yield server


@pytest.fixture
def server(running, monkeypatch):
    """A server that has the two archives of a small MIT1003."""
    running.forget()
    running.files = dict(MADE.archives)
    running.use(monkeypatch)
    return running


MADE = mit1003()


def fetched(home: Home, *options: object, name: str = "mit1003") -> Outcome:
    return home.run("prepare", "-d", name, "--allow-partial", *options)


def arrives(home: Home, *options: object) -> Outcome:
    """Prepare MIT1003 from the server and expect all of it."""
    outcome = fetched(home, "--no-verify", *options)
    assert outcome.status == 0, outcome.err
    assert tree(home.data / "mit1003" / "stimuli") == MADE.stimuli
    return outcome


def fails(home: Home, *options: object, name: str = "mit1003") -> str:
    """Expect one clear error and no dataset, whole or half; return the message."""
    outcome = fetched(home, *options, name=name)
    assert outcome.status == 2
    assert outcome.err.startswith("Error: ")
    assert "unexpected" not in outcome.err
    assert {path.name for path in home.data.glob("*")} <= {"downloads"}
    return outcome.err


def left(home: Home) -> set[str]:
    """Return the names of the files in the folder of fetched archives."""
    return {path.name for path in (home.data / "downloads").iterdir()}


def size(url: str) -> int:
    return len(MADE.archives[url])


# A server that fails for a while


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("end", [break_off, reset])
def test_a_transfer_that_breaks_off_goes_on_where_it_ended(home, server, share, end):
    after = int(share * size(STIMULI_URL))
    server.script(STIMULI_URL, end(after))
    server.script(MAPS_URL, end(after), end(after))
    arrives(home)
    assert left(home) == {
        "mit1003_stimuli.zip",
        "mit1003_fixations.zip",
        "mit1003_fixations.zip.sha256",
    }


def test_a_server_without_ranges_sends_everything_again(home, server):
    server.script(STIMULI_URL, break_off(1000, ranges=False), no_ranges())
    arrives(home)
    assert [request.path for request in server.requests] == [STIMULI_URL, STIMULI_URL, MAPS_URL]


def test_a_server_that_is_overloaded_twice_is_asked_a_third_time(home, server):
    server.script(MAPS_URL, status(503), status(503))
    arrives(home)
    assert [request.path for request in server.requests] == [STIMULI_URL, *[MAPS_URL] * 3]


def test_the_redirects_of_github_are_followed(home, server):
    made = osie()
    elsewhere = "codeload.github.com/NUS-VIP/predicting-human-gaze-beyond-pixels/zip/master"
    server.files = {f"/{elsewhere}": made.archives[OSIE_URL]}
    server.script(OSIE_URL, redirect(f"https://{elsewhere}"))
    assert fetched(home, "--no-verify", name="osie").status == 0
    assert tree(home.data / "osie" / "stimuli") == made.stimuli


# A server that goes on failing


def test_a_server_that_always_breaks_off_is_given_up_and_gone_on_with_later(home, server):
    server.always(MAPS_URL, break_off(1000, ranges=False))
    assert "Run again to go on after 1.0 kB" in fails(home, "--no-verify")
    assert "mit1003_fixations.zip" not in left(home)
    server.forget()
    arrives(home)
    assert server.ranges() == ["bytes=1000-"]


def test_what_arrived_before_a_failure_is_not_fetched_again(home, server):
    server.always(MAPS_URL, status(404))
    assert "the server answered 404" in fails(home, "--no-verify")
    server.forget()
    arrives(home)
    assert [request.path for request in server.requests] == [MAPS_URL]


FAULTS = {
    "web page": (page("Quota exceeded"), 'a web page came instead of the file ("Quota exceeded")'),
    "empty file": (other(b""), "an empty file came"),
    "cut archive": (unframed(ends=2000), "a truncated or damaged archive came"),
    "no archive": (other(b"PK, but plain text"), "a truncated or damaged archive came"),
    "forbidden": (status(403), "the server answered 403"),
    "overloaded": (status(503), "the server answered 503"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("url", MIT1003_URLS)
def test_a_fault_is_one_message_that_says_what_came_from_where_and_what_to_do(
    home, server, fault, url
):
    behaviour, said = FAULTS[fault]
    server.always(url, behaviour)
    message = fails(home, "--no-verify")
    assert said in message
    assert f"from {server.url}{url}" in message
    assert "pass it with --archive FILE" in message
    assert not [name for name in left(home) if ".part" in name]
    server.forget()
    arrives(home)


def test_a_quota_page_of_google_drive_is_reported_as_one(home, server):
    server.always(SALICON_URLS[0], page("Google Drive - Quota exceeded"))
    message = fails(home, name="salicon")
    assert 'a web page came instead of the file ("Google Drive - Quota exceeded")' in message
    assert "pass it with --archive FILE" in message
    assert left(home) == set()


def test_an_archive_damaged_within_is_refused_and_nothing_made_of_it(home, server):
    archive = bytearray(server.files[STIMULI_URL])
    archive[len(archive) // 2] ^= 0xFF
    server.files[STIMULI_URL] = bytes(archive)
    message = fails(home, "--no-verify")
    assert "mit1003_stimuli.zip: the archive is truncated or damaged" in message
    assert "--archive FILE" in message


def test_a_bad_pair_in_a_fetched_archive_leaves_nothing(home, server):
    members = members_of(server.files[STIMULI_URL])
    members["ALLSTIMULI/i200_static_street_p2.jpeg"] = b"no picture"
    server.files[STIMULI_URL] = zipped(members)
    message = fails(home, "--no-verify")
    assert "1 pair cannot be used" in message
    assert "i200_static_street_p2.jpeg" in message
    assert "preparing" not in message


# Files that changed


@pytest.mark.parametrize("name", PUBLISHED_MD5)
def test_a_file_with_another_sum_than_published_is_a_changed_one(home, server, tmp_path, name):
    server.files = build(name, tmp_path).archives
    message = fails(home, name=name)
    assert "changed" in message
    assert PUBLISHED_MD5[name] in message
    assert "--no-verify" in message
    assert not [file for file in left(home) if ".part" in file]
    assert fetched(home, "--no-verify", name=name).status == 0


@pytest.mark.parametrize("name", SECOND_MD5)
def test_the_second_archive_has_its_own_published_sum(home, server, tmp_path, monkeypatch, name):
    server.files = build(name, tmp_path).archives
    first = digest(write_files(tmp_path, {"a": next(iter(server.files.values()))}) / "a", "md5")
    monkeypatch.setitem(config.SOURCES[name][0], "md5", first)
    assert SECOND_MD5[name] in fails(home, name=name)


def test_a_file_with_the_published_sum_needs_no_option(home, server, tmp_path, monkeypatch):
    path = write_files(tmp_path, {"a": server.files[STIMULI_URL]}) / "a"
    monkeypatch.setitem(config.SOURCES["mit1003"][0], "md5", digest(path, "md5"))
    outcome = fetched(home)
    assert outcome.status == 0, outcome.err
    assert tree(home.data / "mit1003" / "stimuli") == MADE.stimuli


def test_a_fetched_file_that_changed_in_its_place_is_not_used(home, server):
    server.always(MAPS_URL, status(404))
    fails(home, "--no-verify")
    place = home.data / "downloads" / "mit1003_stimuli.zip"
    message = fails(home)
    assert f"{place}: the file changed" in message
    assert "Move it away to have it fetched again, or pass --no-verify" in message


# A full disk


@pytest.mark.parametrize("url", MIT1003_URLS)
def test_a_disk_that_fills_up_while_fetching_keeps_what_can_be_gone_on_with(
    home, server, monkeypatch, url
):
    write = fetch._write
    name = {STIMULI_URL: "mit1003_stimuli.zip", MAPS_URL: "mit1003_fixations.zip"}[url]

    def fill(file, chunk):
        if Path(file.name).name == f"{name}.part":
            write(file, chunk[:1000])
            raise OSError(errno.ENOSPC, "full")
        write(file, chunk)

    with monkeypatch.context() as patch:
        patch.setattr(fetch, "_write", fill)
        message = fails(home, "--no-verify")
    assert f"The disk is full: {name} needs" in message
    assert "goes on after the 1.0 kB that are there" in message
    server.forget()
    arrives(home)
    assert server.ranges()[0] == "bytes=1000-"


@pytest.mark.parametrize("call", [0, 4, 9])
@pytest.mark.parametrize("step", ["extract", "write_png"])
def test_a_disk_that_fills_up_while_preparing_leaves_no_dataset(
    home, server, monkeypatch, step, call
):
    calls = []

    def fill(*args, **options):
        calls.append(args)
        if len(calls) > call:
            raise OSError(errno.ENOSPC, "No space left on device", "stimulus.jpg")
        return write(*args, **options)

    if step == "extract":
        write = archive.extract
        call = call % 2
    else:
        write = images.write_png
    with monkeypatch.context() as patch:
        patch.setattr({"extract": archive, "write_png": images}[step], step, fill)
        message = fails(home, "--no-verify")
    assert "No space left on device" in message
    requests = len(server.requests)
    arrives(home)
    assert len(server.requests) == requests


# A dataset that is there


def test_a_dataset_that_is_there_is_used_without_asking_the_server(home, server):
    arrives(home)
    before = tree(home.data)
    server.forget()
    server.always(STIMULI_URL, status(404))
    assert fetched(home).status == 0
    assert server.requests == []
    assert tree(home.data) == before


def test_a_dataset_that_is_there_is_never_written_over_by_an_archive(home, server):
    arrives(home)
    before = tree(home.data)
    archive = write_archive(home.work / "other.zip", {"a": b"b"})
    outcome = fetched(home, "--archive", archive)
    assert outcome.status == 2
    assert "was prepared from mit1003_stimuli.zip and mit1003_fixations.zip, not from" in (
        outcome.err
    )
    assert tree(home.data) == before


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_folder_of_the_user_that_is_no_dataset_is_not_touched(home, server, by_hand):
    write_files(home.data / "mit1003", {"stimuli/a.jpg": b"mine", "thesis.txt": b"mine too"})
    before = tree(home.data / "mit1003")
    options = []
    if by_hand:
        for number, content in enumerate(MADE.archives.values()):
            path = write_files(home.work, {f"{number}.zip": content}) / f"{number}.zip"
            options += ["--archive", path]
    assert fetched(home, "--no-verify", *options).status == 2
    assert tree(home.data / "mit1003") == before
    assert not [path for path in home.data.iterdir() if "preparing" in path.name]


def test_an_unpacked_published_set_is_taken_from_its_folder(home, pairs, server):
    write_files(home.data / "osie", pairs)
    assert fetched(home, name="osie").status == 0
    assert server.requests == []
    assert (home.data / "osie" / "saliency" / "94.png").is_file()


def test_a_held_set_takes_one_archive_only(home, pairs):
    path = write_archive(home.work / "a.zip", pairs)
    outcome = fetched(home, "--archive", path, "--archive", path, name="fixationadd1000")
    assert outcome.status == 2
    assert "--archive was given more than once" in outcome.err


@pytest.mark.parametrize("name", ["mit1003", "fixationadd1000", "mine"])
def test_an_archive_that_is_not_there_is_an_error_that_names_it(home, name):
    message = fails(home, "--archive", "absent.zip", name=name)
    assert "absent.zip: there is no such archive file" in message


def test_an_error_without_an_archive_of_a_permanent_set_does_not_deny_the_set(home, monkeypatch):
    monkeypatch.setitem(config.DIMS, "image_size_kodak", (64, 64))
    message = fails(home, name="kodak")
    assert "There is no dataset kodak" not in message
    assert "--archive" in message


# The ImageNet encoder


VGG16_URL = "/storage.googleapis.com/tensorflow/keras-applications/vgg16/" + VGG16


def test_the_encoders_file_of_the_user_is_taken_as_it_is(tmp_path, server):
    write_files(tmp_path, {VGG16: b"the user's own"})
    assert download.vgg16_weights(tmp_path) == tmp_path / VGG16
    assert server.requests == []
    assert tree(tmp_path) == {VGG16: b"the user's own"}


def test_the_encoder_is_fetched_if_its_sum_is_the_published_one(tmp_path, server, monkeypatch):
    content = b"weights" * 1000
    server.files = {VGG16_URL: content}
    path = write_files(tmp_path, {"a": content}) / "a"
    monkeypatch.setitem(config.VGG16, "md5", digest(path, "md5"))
    place = download.vgg16_weights(tmp_path / "weights")
    assert tree(tmp_path / "weights") == {VGG16: content}
    assert place == tmp_path / "weights" / VGG16


def test_an_encoder_with_another_sum_is_refused_and_nothing_kept(tmp_path, server):
    server.files = {VGG16_URL: b"weights" * 1000}
    with pytest.raises(UserError, match="6d6bbae143d832006294945121d1f1fc") as error:
        download.vgg16_weights(tmp_path)
    assert f"Get the right one by hand and save it as {tmp_path / VGG16}" in str(error.value)
    assert "--no-verify" not in str(error.value)
    assert tree(tmp_path) == {}


# The models of the paper's authors

CPU_URL, GPU_URL = (
    f"/drive.google.com/uc?export=download&id={drive_id}"
    for drive_id in ("1Xy9C72pcA8DO4CY0rc6B7wsuE9L9DDZY", "1Th7fqVYx25ePMZz4LYsjNQWgAu8tJqwL")
)
GRAPH = zipped({"model_salicon_cpu.pb": b"a graph"})
TWIN = zipped({"model_salicon_gpu.pb": b"its twin"})


@pytest.fixture
def converted(server, monkeypatch) -> list[tuple]:
    """Serve the graphs of SALICON, and note what is converted in place of converting it."""
    import convert

    calls = []

    def note(source, target, dataset, *rest):
        calls.append((source.read_bytes(), target, dataset))
        target.write_bytes(b"converted")

    monkeypatch.setattr(convert, "convert", note)
    server.files = {CPU_URL: GRAPH, GPU_URL: TWIN}
    return calls


def test_a_published_model_is_fetched_and_converted_once(tmp_path, server, converted):
    target = tmp_path / "model_salicon_pretrained.weights.h5"
    for _ in range(2):
        assert download.download_pretrained_weights(tmp_path, "salicon") == target
    assert converted == [(GRAPH, target, "salicon")]
    assert [request.path for request in server.requests] == [CPU_URL]


def test_the_model_of_the_other_device_stands_in_for_one_that_is_gone(tmp_path, server, converted):
    del server.files[CPU_URL]
    download.download_pretrained_weights(tmp_path, "salicon")
    assert [source for source, *_ in converted] == [TWIN]


def test_a_conversion_that_fails_is_tried_again_without_fetching(tmp_path, server, monkeypatch):
    import convert

    def refuse(*args):
        raise UserError("no such graph")

    server.files = {CPU_URL: GRAPH}
    monkeypatch.setattr(convert, "convert", refuse)
    for _ in range(2):
        with pytest.raises(UserError, match="no such graph"):
            download.download_pretrained_weights(tmp_path, "salicon")
    assert len(server.requests) == 1
    assert not list(tmp_path.glob("*.h5"))


@pytest.mark.parametrize("key", ["imagenet", "fixationadd1000", "SALICON", "", "../salicon"])
def test_a_model_that_nobody_published_is_refused_with_those_there_are(tmp_path, server, key):
    with pytest.raises(UserError, match=f"no published model for {re.escape(key)};") as error:
        download.download_pretrained_weights(tmp_path, key)
    assert "salicon, mit1003, cat2000, dutomron, pascals, osie, fiwi" in str(error.value)
    assert server.requests == []


def test_a_quota_page_in_place_of_a_model_says_where_to_save_it_by_hand(
    tmp_path, server, converted
):
    for url in (CPU_URL, GPU_URL):
        server.always(url, page("Google Drive - Quota exceeded"))
    with pytest.raises(UserError) as error:
        download.download_pretrained_weights(tmp_path, "salicon")
    message = str(error.value)
    for url in (CPU_URL, GPU_URL):
        assert f"{server.url}{url}" in message
    assert 'a web page came instead of the file ("Google Drive - Quota exceeded")' in message
    place = tmp_path / "downloads" / "msinet_salicon.zip"
    assert str(place) in message
    assert "--archive" not in message
    assert converted == []
    assert tree(tmp_path) == {"downloads": b"folder"}

    place.write_bytes(GRAPH)
    download.download_pretrained_weights(tmp_path, "salicon")
    assert [source for source, *_ in converted] == [GRAPH]


def test_every_published_set_has_the_models_of_both_devices():
    assert config.PRETRAINED.keys() == config.SOURCES.keys()
    ids = [drive_id for models in config.PRETRAINED.values() for drive_id in models.values()]
    assert len(set(ids)) == len(ids) == 14
    assert all(re.fullmatch(r"[\w-]{33}", drive_id) for drive_id in ids)
