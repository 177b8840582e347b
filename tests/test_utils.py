import hashlib
import io
import os

import pytest
from conftest import tree
from hypothesis import given
from hypothesis import strategies as st

import utils
from utils import History, Progbar, UserError


def test_a_written_file_appears_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    with utils.atomic_write(path) as temporary:
        temporary.write_text("first ")
        assert not path.exists()
        with temporary.open("a") as file:
            file.write("second")
    assert path.read_text() == "first second"


def test_the_temporary_file_lies_beside_and_keeps_the_suffix(tmp_path):
    with utils.atomic_write(tmp_path / "model_a.weights.h5") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(".weights.h5")
        temporary.touch()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, UserError])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), utils.atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error("stop")
    assert tree(tmp_path) == {"a.txt": b"old"}


def test_a_finished_folder_replaces_the_old_one_whole(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old.txt").write_text("old")
    with utils.atomic_folder(path) as temporary:
        (temporary / "new.txt").write_text("new")
    assert tree(tmp_path) == {"model/new.txt": b"new"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_failed_folder_leaves_the_old_one_and_nothing_else(tmp_path, error):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old.txt").write_text("old")
    with pytest.raises(error), utils.atomic_folder(path) as temporary:
        (temporary / "new.txt").write_text("half")
        raise error("stop")
    assert tree(tmp_path) == {"model/old.txt": b"old"}


def test_a_folder_that_a_killed_run_left_is_no_obstacle(tmp_path):
    path = tmp_path / "model"
    # In a container the next run often has the process id of the killed one.
    with utils.atomic_folder(path) as temporary:
        name = temporary.name
    path.rename(tmp_path / name)
    (tmp_path / name / "half.txt").write_text("half")
    with utils.atomic_folder(path) as temporary:
        (temporary / "new.txt").write_text("new")
    assert (path / "new.txt").read_text() == "new"
    assert not (path / "half.txt").exists()


def test_json_is_written_readable_for_people(tmp_path):
    utils.write_json(tmp_path / "a.json", {"name": "caf\u00e9"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "name": "caf\u00e9"\n}\n'


@given(st.binary(max_size=1000))
def test_sha256_is_that_of_the_content(content):
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        assert utils.sha256(file.name) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 images"), (1, "1 image"), (2, "2 images"), (1000, "1,000 images")]
)
def test_a_count_agrees_with_its_noun(number, text):
    assert utils.count_of(number, "image") == text


def test_this_process_runs():
    assert utils.process_runs(os.getpid())


def test_a_finished_process_does_not_run():
    pid = os.spawnlp(os.P_NOWAIT, "true", "true")
    os.waitpid(pid, 0)
    assert not utils.process_runs(pid)


def test_a_missing_file_error_is_a_file_not_found_error_with_its_own_words():
    error = utils.MissingFileError("Train model on SALICON first")
    assert isinstance(error, FileNotFoundError)
    assert isinstance(error, UserError)
    assert str(error) == "Train model on SALICON first"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_progress_bar_on_a_terminal_shows_rate_time_left_and_values(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    with Progbar(200, "Epoch 1/2") as bar:
        for _ in range(100):
            bar._bar.last_print_t = 0
            bar.update(1, loss=0.4321)
        bar._bar.refresh()
        shown = utils.sys.stderr.getvalue()
    assert "Epoch 1/2" in shown
    assert "100/200" in shown
    assert "images/s" in shown
    assert "loss 0.4321" in shown
    assert "<" in shown


def test_a_progress_bar_writes_nothing_where_there_is_no_terminal(capsys):
    with Progbar(10, "Epoch 1/2") as bar:
        bar.update(5, loss=1.0)
    assert capsys.readouterr() == ("", "")


losses = st.lists(st.floats(0, 10), min_size=1, max_size=8)


@given(losses)
def test_the_newest_epoch_is_the_best_when_none_before_was_lower(values):
    history = History()
    for value in values:
        history.append(1.0, value)
    assert history.is_best == (values[-1] == min(values))


def test_a_history_without_an_epoch_has_no_best():
    assert not History().is_best


def test_a_history_is_written_with_one_number_a_line(tmp_path):
    history = History([0.5, 0.25], [0.75, 0.5])
    history.save(tmp_path, "osie_cpu")
    train = (tmp_path / "train_osie_cpu.txt").read_text().splitlines()
    valid = (tmp_path / "valid_osie_cpu.txt").read_text().splitlines()
    assert [float(line) for line in train] == [0.5, 0.25]
    assert [float(line) for line in valid] == [0.75, 0.5]


def test_the_length_of_a_history_is_its_number_of_epochs():
    assert len(History([1, 2, 3], [1, 2, 3])) == 3
