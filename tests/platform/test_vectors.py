import sqlite3
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from whetstone.platform import vectors
from whetstone.platform.errors import WhetstoneError
from whetstone.platform.vectors import VectorStore, text_hash


class Counting:
    """An encoder that remembers what it was asked: a text becomes (its length, its first letter, ...)."""

    def __init__(self, dimension: int = 3) -> None:
        self.asked: list[str] = []
        self.dimension = dimension

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        rows = [[len(text), ord(text[0]) if text else 0, *range(2, self.dimension)] for text in texts]
        return np.array(rows, dtype=np.float32).reshape(len(texts), self.dimension)


def get(store: VectorStore, texts: list[str], encode: Counting, version: str = "v1") -> np.ndarray:
    return store.get(version, [text_hash(text) for text in texts], texts, encode)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_rows_are_aligned_and_each_distinct_text_is_encoded_once(tmp_path: Path) -> None:
    encode = Counting()
    got = get(VectorStore(tmp_path), ["bb", "a", "bb", "", "ccc"], encode)
    assert got.dtype == np.float32
    assert got.tolist() == Counting()(["bb", "a", "bb", "", "ccc"]).tolist()
    assert sorted(encode.asked) == ["", "a", "bb", "ccc"]


def test_only_what_is_missing_is_encoded(tmp_path: Path) -> None:
    get(VectorStore(tmp_path), ["a", "bb"], Counting())
    encode = Counting()
    assert get(VectorStore(tmp_path), ["ccc", "bb", "a"], encode)[:, 0].tolist() == [3, 2, 1]
    assert encode.asked == ["ccc"]
    silent = Counting()
    get(VectorStore(tmp_path), ["a", "bb", "ccc"], silent)
    assert silent.asked == []


def test_only_the_texts_that_are_kept_stay_whatever_the_encoder(tmp_path: Path) -> None:
    store = VectorStore(tmp_path / "none yet")
    store.keep([])
    assert not store.path.exists()
    for version in ("v1", "v2"):
        get(store, ["a", "bb", "ccc"], Counting(), version)
    store.keep([text_hash("bb"), text_hash("never seen")])
    for version in ("v1", "v2"):
        encode = Counting()
        get(store, ["a", "bb", "ccc"], encode, version)
        assert encode.asked == ["a", "ccc"]


def test_versions_never_mix_whatever_they_are_called(tmp_path: Path) -> None:
    store = VectorStore(tmp_path)
    for version in ("v1", "../v1", "v1/x\n", "🦄", ""):
        encode = Counting()
        get(store, ["a"], encode, version)
        assert encode.asked == ["a"]
    assert all(path.is_relative_to(tmp_path) for path in files(tmp_path))


def test_no_texts_have_the_encoders_dimension(tmp_path: Path) -> None:
    assert get(VectorStore(tmp_path), [], Counting(5)).shape == (0, 5)
    assert files(tmp_path) == []


@pytest.mark.parametrize("damage", ["flip", "truncate", "garbage"])
def test_a_damaged_file_is_dropped_with_a_warning_and_its_texts_encoded_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    store = VectorStore(tmp_path)
    get(store, ["a", "bb"], Counting())
    content = store.path.read_bytes()
    at = content.index(np.float32([1, ord("a"), 2]).tobytes())
    flipped = content[: at + 2] + bytes([content[at + 2] ^ 1]) + content[at + 3 :]
    store.path.write_bytes({"flip": flipped, "truncate": content[:5000], "garbage": b"no database" * 100}[damage])
    encode = Counting()
    assert get(store, ["a", "bb"], encode)[:, 0].tolist() == [1, 2]
    assert sorted(encode.asked) == (["a"] if damage == "flip" else ["a", "bb"])
    assert "damaged vector" in caplog.text
    caplog.clear()
    again = Counting()
    assert get(store, ["a", "bb"], again)[:, 0].tolist() == [1, 2]
    assert again.asked == []
    assert caplog.text == ""


def test_two_writers_of_the_same_texts_leave_usable_vectors(tmp_path: Path) -> None:
    def interrupted(texts: Sequence[str]) -> np.ndarray:
        get(VectorStore(tmp_path), ["a", "bb"], Counting())  # another process writes the same while we encode
        return Counting()(texts)

    store = VectorStore(tmp_path)
    got = store.get("v1", [text_hash("a"), text_hash("bb")], ["a", "bb"], interrupted)
    silent = Counting()
    assert got.tolist() == get(store, ["a", "bb"], silent).tolist()
    assert silent.asked == []


def _write_some(folder: Path, writer: int) -> None:
    for number in range(20):
        get(VectorStore(folder), [f"both {number}", f"{writer} {number}"], Counting())


def test_processes_side_by_side_lose_nothing(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        list(pool.map(_write_some, [tmp_path, tmp_path], [1, 2]))
    silent = Counting()
    texts = [f"{who} {number}" for who in ("both", 1, 2) for number in range(20)]
    assert get(VectorStore(tmp_path), texts, silent)[:, 0].tolist() == [len(text) for text in texts]
    assert silent.asked == []


def test_a_cache_that_another_holds_for_too_long_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "LOCK_PATIENCE_S", 0.01)
    store = VectorStore(tmp_path)
    get(store, ["a"], Counting())
    with closing(sqlite3.connect(store.path)) as holder:
        holder.execute("begin exclusive")
        with pytest.raises(WhetstoneError, match=r"vectors\.sqlite can't be used: database is locked"):
            get(store, ["a"], Counting())
    silent = Counting()
    get(store, ["a"], silent)
    assert silent.asked == []


def test_a_killed_build_keeps_the_chunks_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "CHUNK_ROWS", 2)
    texts = ["a", "bb", "ccc", "dddd", "eeeee"]

    class Killed(Counting):
        def __call__(self, texts: Sequence[str]) -> np.ndarray:
            if len(self.asked) >= 4:
                raise KeyboardInterrupt
            return super().__call__(texts)

    with pytest.raises(KeyboardInterrupt):
        get(VectorStore(tmp_path), texts, Killed())
    encode = Counting()
    assert get(VectorStore(tmp_path), texts, encode)[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert len(encode.asked) == 1


def test_a_hash_that_is_not_its_texts_is_refused_before_it_is_stored(tmp_path: Path) -> None:
    with pytest.raises(WhetstoneError, match="is not that of the text 'b'"):
        VectorStore(tmp_path).get("v1", [text_hash("a")], ["b"], Counting())
    with pytest.raises(WhetstoneError, match="text hash short is not that of the text 'a'"):
        VectorStore(tmp_path).get("v1", ["short"], ["a"], Counting())
    with pytest.raises(WhetstoneError, match="0 text hashes for 1 texts"):
        VectorStore(tmp_path).get("v1", [], ["a"], Counting())
    encode = Counting()
    get(VectorStore(tmp_path), ["a", "b"], encode)
    assert encode.asked == ["a", "b"]


def test_another_encoder_under_the_same_version_is_refused(tmp_path: Path) -> None:
    store = VectorStore(tmp_path)
    get(store, ["a"], Counting(3))
    with pytest.raises(WhetstoneError, match="give another encoder another version"):
        get(store, ["a", "b"], Counting(4))
    with pytest.raises(WhetstoneError, match=r"gave shape \(1, 3\) for 2 texts"):
        store.get("v2", [text_hash("a"), text_hash("b")], ["a", "b"], lambda texts: np.ones((1, 3), np.float32))


def test_what_is_not_kept_is_removed_and_counted(tmp_path: Path) -> None:
    store = VectorStore(tmp_path)
    for version in ("v1", "v2"):
        get(store, ["a", "bb", "ccc"], Counting(4), version)
    kept = [text_hash("a"), text_hash("bb"), text_hash("never seen")]
    assert store.keep(kept, ["v1"], dry_run=True) == (4, 4 * 4 * 4)
    silent = Counting(4)
    get(store, ["a", "bb", "ccc"], silent, "v2")
    assert silent.asked == []  # a dry run removes nothing
    assert store.keep(kept, ["v1"]) == (4, 64) and store.keep(kept, ["v1"]) == (0, 0)
    again, other = Counting(4), Counting(4)
    get(store, ["a", "bb", "ccc"], again, "v1")
    get(store, ["a"], other, "v2")
    assert again.asked == ["ccc"] and other.asked == ["a"]
