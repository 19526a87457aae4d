import pytest

from hydrahive.core.durable import TEMPORARY_SUFFIX, whole_folder, write_whole


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_fails_leaves_nothing(tmp_path):
    def fill():
        with whole_folder(tmp_path / "c") as partial:
            (partial / "x").write_bytes(b"1")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_left_half_written_by_a_crash_is_overwritten(tmp_path):
    (tmp_path / f"c{TEMPORARY_SUFFIX}").mkdir()
    (tmp_path / f"c{TEMPORARY_SUFFIX}" / "stale").write_bytes(b"")
    with whole_folder(tmp_path / "c") as partial:
        (partial / "x").write_bytes(b"1")
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["x"]
