"""A manifest is read whole or refused with its line; no sound is both learned and evaluated."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

from m2d_clap.training.leaks import LeakError, find_leaks, refuse_leaks, refuse_leaks_of
from m2d_clap.training.manifest import (
    ManifestError,
    Row,
    check_files,
    identity,
    read_manifest,
    write_manifest,
)


def manifest(folder: Path, text: str) -> Path:
    (folder / "m.csv").write_text(text, encoding="utf-8")
    return folder / "m.csv"


def row(file: Path | str, split: str = "train", **more: object) -> Row:
    return dataclasses.replace(Row(Path(file), ("rain",), "", split, {}), **more)  # type: ignore[arg-type]


def test_every_column_is_read(tmp_path: Path) -> None:
    (found,) = read_manifest(
        manifest(
            tmp_path,
            "file,captions,label,labels,split,source,weight,recording,licence\n"
            "a/x.wav,a dog|a bark,dog,animal; dog,fold2,Mine,2.5,fs:7,CC0 1.0\n",
        )
    )
    assert found.file == tmp_path / "a" / "x.wav"
    assert found.captions == ("a dog", "a bark")
    assert (found.label, found.labels) == ("dog", ("animal", "dog"))
    assert (found.split, found.weight, found.line) == ("fold2", 2.5, 2)
    assert (found.source, found.recording) == ("Mine", "fs:7")
    assert found.columns["licence"] == "CC0 1.0"


def test_without_captions_every_label_is_one(tmp_path: Path) -> None:
    text = "file,label,labels\nx.wav,church_bell,\ny.wav,,Water;Boat\nz.wav,Boat,Water\n"
    bell, several, both = read_manifest(manifest(tmp_path, text))
    assert (bell.captions, bell.labels, bell.split) == (("church bell",), ("church_bell",), "train")
    assert (several.captions, several.label) == (("Water", "Boat"), "")
    assert (both.label, both.labels) == ("Boat", ("Boat", "Water"))
    assert row("x", label="dog").labels == ("dog",)


def test_what_spreadsheets_write_is_read(tmp_path: Path) -> None:
    text = '\ufefffile, caption,\n"x.wav","rain, then\nthunder",\n\ny.wav,wind,\n'
    rain, wind = read_manifest(manifest(tmp_path, text))
    assert (rain.captions, rain.line) == (("rain, then\nthunder",), 3)
    assert wind.line == 5


def test_rows_of_one_sound_and_split_are_one(tmp_path: Path) -> None:
    text = (
        "file,caption,label,labels,split,licence\n"
        "x.wav,a dog,dog,,train,CC0\n"
        "y.wav,,church_bell,,test,CC0\n"
        "./x.wav,a bark,dog,animal,train,CC0\n"
        "x.wav,a dog,,,valid,CC BY\n"
        "y.wav,,rain,,test,CC0\n"
        "x.wav,a dog,,,train,CC0\n"
    )
    dog, bell, valid = read_manifest(manifest(tmp_path, text))
    assert dog.captions == ("a dog", "a bark", "a dog")  # two who said the same are two
    assert (dog.label, dog.labels, dog.split, dog.line) == ("dog", ("dog", "animal"), "train", 2)
    assert (bell.captions, bell.label) == (("church bell", "rain"), "")
    assert (bell.labels, bell.columns["licence"]) == (("church_bell", "rain"), "CC0")
    assert (valid.captions, valid.split) == (("a dog",), "valid")


def test_rows_of_one_sound_that_disagree_are_refused_with_their_lines(tmp_path: Path) -> None:
    text = "file,caption,weight\nx.wav,rain,\ny.wav,wind,\nx.wav,a storm,2\n"
    with pytest.raises(ManifestError, match=r"lines 2 and 4: both are .*x\.wav .* 'weight'"):
        read_manifest(manifest(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"m.csv, line 1: there is no column 'file' \(columns: none\)"),
        ("filename,caption\n", r"line 1: there is no column 'file' \(columns: filename, caption\)"),
        ("file,caption\nx.wav,rain\n ,rain\n", "line 3: the file is missing"),
        ("caption,file\nrain\n", "line 2: the file is missing"),
        ("file,caption,label\nx.wav,,\n", "line 2: neither caption nor label"),
        ("file,captions\nx.wav,rain|\n", r"line 2: an entry of 'captions' is empty: 'rain\|'"),
        ("file,captions\nx.wav,|\n", "line 2: an entry of 'captions' is empty"),
        ("file,labels\nx.wav,a;;b\n", "line 2: an entry of 'labels' is empty"),
        ("file,label,split\nx.wav,a,val\n", "line 2: the split 'val' .* did you mean 'valid'?"),
        ("file,caption,split\nx.wav,a,tset\n", "line 2: the split 'tset' .* mean 'test'?"),
        ("file,caption,split\nx.wav,,test\n", "line 2: neither caption nor label"),
        ("file,label,split\nx.wav,a,Train\n", "train, valid, test, fold1, .* mean 'train'?"),
        ("file,label,split\nx.wav,a,fold_3\n", "did you mean 'fold3'?"),
        ("file,label,split\nx.wav,a,xyz\n", "the split 'xyz' .* or a number$"),
        ("file,label,weight\nx.wav,a,0\n", "line 2: the weight '0' is no number above 0"),
        ("file,label,weight\nx.wav,a,inf\n", "the weight 'inf'"),
        ("file,label,weight\nx.wav,a,many\n", "the weight 'many'"),
        ("file,caption\nx.wav,a dog, barking\n", "line 2: more cells than columns; .* quotes"),
        ('file,caption\nx.wav,"a dog\n', "line 2: unexpected end of data"),
    ],
)
def test_a_faulty_manifest_is_refused_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ManifestError, match=message):
        read_manifest(manifest(tmp_path, text))


def test_a_manifest_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"file,caption\n\xff\xfe.wav,rain\n")
    with pytest.raises(ManifestError, match="cannot read the manifest"):
        read_manifest(tmp_path / "m.csv")
    with pytest.raises(ManifestError, match="cannot read the manifest"):
        read_manifest(tmp_path / "none.csv")


WORDS = st.text("abcäß ,'\"\n", min_size=1, max_size=8).map(str.strip).filter(bool)


@settings(max_examples=60, deadline=None)
@given(
    captions=st.lists(WORDS, min_size=1, max_size=3),
    labels=st.lists(WORDS, max_size=3, unique=True),
    has_label=st.booleans(),
    split=st.sampled_from(["train", "valid", "test", "fold10", "3"]),
    weight=st.floats(1e-6, 1e6),
    recording=st.one_of(st.just(""), WORDS),
    licence=st.one_of(st.just(""), WORDS),
)
def test_a_written_manifest_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    captions: list[str],
    labels: list[str],
    has_label: bool,
    split: str,
    weight: float,
    recording: str,
    licence: str,
) -> None:
    folder = tmp_path_factory.mktemp("written")
    one = Row(
        file=folder / "sounds" / "ä, x.wav",
        captions=tuple(captions),
        label=labels[0] if labels and has_label else "",
        split=split,
        columns={"licence": licence},
        labels=tuple(labels),
        weight=weight,
        recording=recording,
        source="Mine",
    )
    other = row(folder / "y.wav")
    write_manifest([one, other], folder / "m.csv")
    read = read_manifest(folder / "m.csv")
    assert read[0].columns.get("licence", "") == licence
    assert [dataclasses.replace(r, columns={}) for r in read] == [
        dataclasses.replace(r, columns={}) for r in (one, other)
    ]


def test_a_manifest_elsewhere_names_the_same_files_even_behind_links(tmp_path: Path) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    sound = tmp_path / "sounds" / "x.wav"
    sound.parent.mkdir()
    sound.write_bytes(b"x")
    write_manifest([row(sound)], tmp_path / "link" / "m.csv")
    (found,) = read_manifest(tmp_path / "link" / "m.csv")
    assert found.file.samefile(sound)
    assert str(tmp_path) not in (tmp_path / "link" / "m.csv").read_text()


def test_rows_that_could_not_be_read_back_leave_the_old_manifest(tmp_path: Path) -> None:
    path = manifest(tmp_path, "file,caption\nx.wav,rain\n")
    for bad in (
        row("x", captions=("a|b", "c")),
        row("x", labels=("a;b", "c")),
        row("x", "vaild"),
        row("x", captions=("",)),
    ):
        with pytest.raises(ManifestError, match="cannot write"):
            write_manifest([row("y"), bad], path)
    assert read_manifest(path)[0].captions == ("rain",)
    assert list(tmp_path.iterdir()) == [path]


def test_missing_files_are_named_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "there.wav").touch()
    names = ["there.wav", *(f"{n}.wav" for n in range(12))]
    rows = read_manifest(manifest(tmp_path, "file,label\n" + "".join(f"{n},a\n" for n in names)))
    with pytest.raises(ManifestError) as refused:
        check_files(rows)
    message = str(refused.value)
    assert "12 of 13 sounds are not there" in message
    assert f"line 3: {tmp_path / '0.wav'}" in message
    assert "9.wav" in message and "10.wav" not in message and "and 2 more" in message
    check_files(rows[:1])


def test_a_recording_on_both_sides_is_a_leak() -> None:
    rows = [row("a", recording="fs:1"), row("b", "test", recording="fs:1")]
    (leak,) = find_leaks(rows)
    assert (leak.kind, leak.what) == ("recording", "fs:1")
    assert (leak.learned, leak.evaluated) == (rows[0], rows[1])
    assert not find_leaks([row("a", recording="fs:1"), row("b", recording="fs:1")])
    assert not find_leaks([row("a"), row("b", "test")])  # an unknown recording is no recording


def test_a_recording_in_valid_and_test_alone_is_none() -> None:
    kept = [row("a", "valid", recording="r"), row("b", "test", recording="r"), row("c")]
    assert not find_leaks(kept)


def test_leaks_are_sought_behind_the_licences_too_and_between_what_chooses_and_what_tests() -> None:
    learned, held = row("a", recording="fs:1"), row("b", "test", recording="fs:1")
    refuse_leaks([learned])
    with pytest.raises(LeakError, match="fs:1"):
        refuse_leaks_of([learned], [learned, held])  # though its licence leaves the second out
    chooses = row("c", "valid", recording="fs:1")
    with pytest.raises(LeakError, match="fs:1"):
        refuse_leaks_of([], [chooses, held])
    refuse_leaks_of([learned], [learned, row("d", recording="fs:1")])


def test_the_digest_of_rows_tells_what_a_run_would_notice(tmp_path: Path) -> None:
    sound = tmp_path / "a.wav"
    sound.write_bytes(b"1234")
    rows = [row(sound, label="dog", labels=("dog",))]
    told = {identity(rows), identity([*rows, *rows])}
    for change in (
        {"captions": ("another",)},
        {"label": "cat", "labels": ("cat",)},
        {"weight": 2.0},
    ):
        told.add(identity([dataclasses.replace(rows[0], **change)]))
    moved = tmp_path / "b.wav"
    moved.write_bytes(b"5678")
    assert identity([dataclasses.replace(rows[0], file=moved)]) in told
    sound.write_bytes(b"longer")
    told.add(identity(rows))
    assert len(told) == 6


def test_a_recording_in_two_folds_is_a_leak_unless_both_are_learned() -> None:
    rows = [row("a", "fold1", recording="r"), row("b", "fold2", recording="r"), row("c", "fold3")]
    assert len(find_leaks(rows)) == 1
    assert not find_leaks(rows, learning=["fold1", "fold2"], evaluation=["fold3"])
    assert find_leaks(rows, learning=["fold1", "fold3"], evaluation=["fold2"])


def test_one_file_under_two_names_is_a_leak(tmp_path: Path) -> None:
    sound = tmp_path / "a.wav"
    sound.write_bytes(b"sound")
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.wav").symlink_to(sound)
    for other in (sound, tmp_path / "sub" / ".." / "a.wav", tmp_path / "b.wav"):
        (leak,) = find_leaks([row(sound), row(other, "valid")])
        assert leak.kind == "file"
    (leak,) = find_leaks([row("gone.wav"), row(Path("x/../gone.wav"), "test")])
    assert leak.kind == "file"


def test_equal_content_is_a_leak_and_files_of_another_size_are_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    middle = bytes(20_000)  # as in sounds padded with silence
    contents = {
        "learned": b"1" + middle + b"2",
        "copy": b"1" + middle + b"2",
        "end": b"1" + middle + b"3",
        "longer": b"1" + middle + b"22",
        "empty": b"",
        "empty too": b"",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    read = []
    whole = Path.open

    def counted(self: Path, mode: str) -> object:
        read.append(self.name)
        return whole(self, mode)

    monkeypatch.setattr(Path, "open", counted)
    learned = ["learned", "empty"]
    evaluated = ["copy", "end", "longer", "empty too"]
    rows = [row(tmp_path / name) for name in learned]
    rows += [row(tmp_path / name, "test") for name in evaluated]
    (leak,) = find_leaks(rows)
    assert (leak.kind, leak.evaluated.file.name) == ("content", "copy")
    assert {"longer", "empty", "empty too"}.isdisjoint(read)


def test_silence_is_no_recording_that_could_leak(tmp_path: Path) -> None:
    click = np.zeros(60_000, np.int16)
    click[-9] = 1
    for content, samples in (("nothing", np.zeros(60_000, np.int16)), ("a click", click)):
        for side in ("learned", "tested"):
            wavfile.write(tmp_path / f"{content} {side}.wav", 44100, samples)
    rows = [row(file, "train" if "learned" in file.name else "test") for file in tmp_path.iterdir()]
    (leak,) = find_leaks(rows)
    assert leak.learned.file.name == "a click learned.wav"


def test_leaks_are_refused_with_lines_a_count_and_the_remedy() -> None:
    rows = [row(f"{n}", recording=f"r{n}", line=n + 2) for n in range(12)]
    rows += [row(f"e{n}", "test", recording=f"r{n}", line=n + 20) for n in range(12)]
    with pytest.raises(LeakError) as refused:
        refuse_leaks(rows)
    message = str(refused.value)
    assert message.startswith("12 sounds")
    assert "same recording 'r0': line 2, 0 (train) and line 20, e0 (test)" in message
    assert "'r9'" in message and "'r10'" not in message and "and 2 more" in message
    assert "the same split" in message
    refuse_leaks(rows[:12])


SIDES = st.sampled_from(["train", "valid", "test", "fold1", "fold2"])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(SIDES, st.integers(0, 4)), max_size=12))
def test_recordings_leak_exactly_as_a_pair_by_pair_search_says(
    drawn: list[tuple[str, int]],
) -> None:
    rows = [row(f"{n}", s, recording=f"r{r}") for n, (s, r) in enumerate(drawn)]
    folds = {"fold1", "fold2"}
    expected = {
        a.recording
        for a in rows
        for b in rows
        if a.recording == b.recording and a.split != b.split
        if a.split in folds | {"train"} and b.split in folds | {"valid", "test"}
    }
    assert {leak.what for leak in find_leaks(rows)} == expected


def test_a_hundred_thousand_rows_are_searched_without_opening_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*words: object) -> None:
        raise AssertionError("a file was opened")

    rows = [
        Row(tmp_path / f"{n}.wav", ("rain",), "", s, {}, recording=f"r{n % 99_999}")
        for n, s in enumerate(["test"] * 10_000 + ["train"] * 90_000)
    ]
    monkeypatch.setattr(Path, "open", never)
    (leak,) = find_leaks(rows)
    assert (leak.learned.recording, leak.kind) == ("r0", "recording")
