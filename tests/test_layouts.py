"""Data sets as they are published become manifests of the sounds that are there."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from m2d_clap.model.errors import ClapError
from m2d_clap.model.labels import audioset
from m2d_clap.service.cli import build
from m2d_clap.training.layouts import LAYOUTS, Report, convert, detect
from m2d_clap.training.layouts.licences import licence_name
from m2d_clap.training.layouts.sounds import by_stem, sound_files
from m2d_clap.training.layouts.youtube import Videos
from m2d_clap.training.leaks import find_leaks
from m2d_clap.training.manifest import ManifestError, Row, read_manifest

VIDEO, OTHER, GONE = "--PJHxphWEs", "Y_Bb0RFKhbp", "zzzzzzzzzzz"

ESC50 = {
    "meta/esc50.csv": "filename,fold,target,category,esc10,src_file,take\n"
    "1-100032-A-0.wav,1,0,dog,True,100032,A\n"
    "5-9032-A-14.wav,5,14,chirping_birds,False,9032,A\n",
    "audio/1-100032-A-0.wav": "",
    "audio/5-9032-A-14.wav": "",
}
URBANSOUND8K = {
    "metadata/UrbanSound8K.csv": "slice_file_name,fsID,start,end,salience,fold,classID,class\n"
    "100032-3-0-0.wav,100032,0.0,0.317551,1,5,3,dog_bark\n"
    "100263-2-0-117.wav,100263,58.5,62.5,1,10,2,children_playing\n",
    "audio/fold5/100032-3-0-0.wav": "",
    "audio/fold10/100263-2-0-117.wav": "",
}
FSD50K = {
    "FSD50K.ground_truth/dev.csv": "fname,labels,mids,split\n"
    '64760,"Electric_guitar,Guitar,Music","/m/02sgy,/m/0342h,/m/04rlf",train\n'
    '16399,Rain,/m/06mb1,"val"\n',
    "FSD50K.ground_truth/eval.csv": 'fname,labels,mids\n37199,"Siren,Alarm","/m/03kmc9,/m/07pp"\n',
    "FSD50K.metadata/dev_clips_info_FSD50K.json": json.dumps(
        {"64760": {"license": "http://creativecommons.org/licenses/by-nc/3.0/", "uploader": "a"}}
    ),
    "FSD50K.dev_audio/64760.wav": "",
    "FSD50K.dev_audio/16399.wav": "",
    "FSD50K.eval_audio/37199.wav": "",
}
CLOTHO_HEADER = "file_name,caption_1,caption_2,caption_3,caption_4,caption_5\n"
CLOTHO: dict[str, str | bytes] = {
    "clotho_captions_development.csv": CLOTHO_HEADER
    + 'Distorted AM Radio noise.wav,"A noise, loud",b,c,d,e|f\n',
    "clotho_captions_validation.csv": CLOTHO_HEADER + "Rain.wav,a,b,c,d,e\n",
    "clotho_captions_evaluation.csv": CLOTHO_HEADER + "Santa Motor.wav,a,b,c,d,e\n",
    "clotho_metadata_development.csv": b"file_name,keywords,sound_id,sound_link,start_end_samples,"
    b"manufacturer,license\n"
    b'Distorted AM Radio noise.wav,"radio;fa\xe7ade",80399,https://freesound.org/s/80399,'
    b'"[0, 845524]",Ren\xe9,http://creativecommons.org/licenses/by/3.0/\n',
    "clotho_metadata_validation.csv": b"file_name,keywords,sound_id,sound_link,start_end_samples,"
    b"manufacturer,license\nRain.wav,rain,Not found,Not found,,Not found,Not found\n",
    "clotho_metadata_evaluation.csv": b"file_name,keywords,sound_id,sound_link,start_end_samples,"
    b"manufacturer,license\n",
    "development/Distorted AM Radio noise.wav": "",
    "validation/Rain.wav": "",
    "evaluation/Santa Motor.wav": "",
}
AUDIOCAPS_HEADER = "audiocap_id,youtube_id,start_time,caption\n"
AUDIOCAPS = {
    "dataset/train.csv": AUDIOCAPS_HEADER + f"91139,{VIDEO},130,A woman talks as water pours\n",
    "dataset/val.csv": AUDIOCAPS_HEADER + f"97151,{OTHER},0,one\n97152,{OTHER},0,two\n",
    "dataset/test.csv": AUDIOCAPS_HEADER + f"103549,{GONE},20,Constant rattling noise\n",
    f"audio/train/{VIDEO}_130.flac": "",
    f"audio/val/Y{OTHER}.wav": "",
}
AUTO_ACD = {
    "train.csv": "youtube_id,caption\n"
    f"{VIDEO},A dog barks in a hall.\n"
    f'{OTHER}_000117,"Rain falls, then thunder."\n'
    f"{OTHER}_000117,Water pours.\n",
    "test.csv": f"youtube_id,caption\n{GONE},A bell.\n",
    f"wav/{VIDEO}_30.000.wav": "",
    f"wav/{OTHER}_000117.wav": "",
    f"wav/{OTHER}_000200.wav": "",
}
AUDIOSET_HEAD = (
    "# Segments csv created Sun Mar  5 10:54:31 2017\n"
    "# num_ytids=20371, num_segs=20371, num_unique_labels=527, num_positive_labels=51804\n"
    "# YTID, start_seconds, end_seconds, positive_labels\n"
)
AUDIOSET = {
    "balanced_train_segments.csv": AUDIOSET_HEAD
    + f'{VIDEO}, 30.000, 40.000, "/m/09x0r,/t/dd00088"\n',
    "unbalanced_train_segments.csv": AUDIOSET_HEAD + f'{OTHER}, 0.000, 10.000, "/m/06mb1"\n',
    "eval_segments.csv": AUDIOSET_HEAD + f'{GONE}, 30.000, 40.000, "/m/06mb1"\n',
    f"balanced/Y{VIDEO}.wav": "",
    f"unbalanced/000/{OTHER}_0_10.opus": "",
}


def wavcaps_json(*clips: Mapping[str, object]) -> str:
    return json.dumps({"num_captions_per_audio": 1, "data": clips})


WAVCAPS = {
    "json_files/AudioSet_SL/as_final.json": wavcaps_json(
        {"id": f"Y{VIDEO}.wav", "caption": "Wind.", "audio": "wav_path", "duration": 10.0}
    ),
    "json_files/BBC_Sound_Effects/bbc_final.json": wavcaps_json(
        {"id": "07066104", "caption": "Sawing.", "category": "['Machines']", "duration": 138.36}
    ),
    "json_files/FreeSound/fsd_final.json": wavcaps_json(
        {"id": "2219", "caption": "A ringtone.", "file_name": "UK.wav", "duration": 3.2},
        {"id": "404", "caption": "Gone.", "duration": 1},
    ),
    "json_files/SoundBible/sb_final.json": wavcaps_json(
        {"id": "2219", "caption": "An airplane is landing.", "duration": 14.1}
    ),
    f"mnt/waveforms/AudioSet_SL_flac/Y{VIDEO}.flac": "",
    "mnt/waveforms/BBC_Sound_Effects_flac/07066104.flac": "",
    "FreeSound/2219.flac": "",
    "SoundBible_flac/2219.flac": "",
}
PUBLISHED: dict[str, Mapping[str, str | bytes]] = {
    "audiocaps": AUDIOCAPS,
    "audioset": AUDIOSET,
    "auto-acd": AUTO_ACD,
    "clotho": CLOTHO,
    "esc50": ESC50,
    "fsd50k": FSD50K,
    "urbansound8k": URBANSOUND8K,
    "wavcaps": WAVCAPS,
}


def lay_out(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def converted(
    tmp_path: Path, name: str, files: Mapping[str, str | bytes] | None = None
) -> tuple[Report, list[Row]]:
    source = lay_out(tmp_path / "source", PUBLISHED[name] if files is None else files)
    report = convert(LAYOUTS[name], source, tmp_path / "out" / "m.csv")
    rows = read_manifest(tmp_path / "out" / "m.csv")
    assert len(rows) == report.rows
    assert all(row.file.is_file() for row in rows)
    return report, rows


def facts(rows: Sequence[Row]) -> list[tuple[str, str, str, tuple[str, ...], str]]:
    return [(r.file.name, r.split, r.label, r.captions, r.recording) for r in rows]


def test_every_layout_is_tested_and_tells_of_itself() -> None:
    assert PUBLISHED.keys() == LAYOUTS.keys()
    for name, layout in LAYOUTS.items():
        assert layout.name == name
        assert layout.url.startswith("https://")
        assert layout.summary and layout.licence and layout.audio


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_data_set_is_known_by_its_tables(tmp_path: Path, name: str) -> None:
    assert detect(lay_out(tmp_path, PUBLISHED[name])) == name


def test_a_folder_of_anything_else_is_no_data_set(tmp_path: Path) -> None:
    lay_out(tmp_path, {"train.csv": "file,caption\nx.wav,rain\n", "test.csv": b"\xff\x00"})
    assert detect(tmp_path) is None
    assert detect(tmp_path / "none") is None


def test_esc50(tmp_path: Path) -> None:
    _, rows = converted(tmp_path, "esc50")
    assert facts(rows) == [
        ("1-100032-A-0.wav", "fold1", "dog", ("dog",), "fs:100032"),
        ("5-9032-A-14.wav", "fold5", "chirping_birds", ("chirping birds",), "fs:9032"),
    ]
    assert [r.columns["licence"] for r in rows] == ["CC BY 3.0 (ESC-10 subset)", "CC BY-NC 3.0"]


def test_urbansound8k(tmp_path: Path) -> None:
    _, rows = converted(tmp_path, "urbansound8k")
    assert facts(rows) == [
        ("100032-3-0-0.wav", "fold5", "dog_bark", ("dog bark",), "fs:100032"),
        ("100263-2-0-117.wav", "fold10", "children_playing", ("children playing",), "fs:100263"),
    ]
    assert (rows[1].source, rows[1].columns["start"]) == ("UrbanSound8K", "58.5")


def test_urbansound8k_as_on_kaggle(tmp_path: Path) -> None:
    files = {name.removeprefix("audio/"): text for name, text in URBANSOUND8K.items()}
    files["UrbanSound8K.csv"] = files.pop("metadata/UrbanSound8K.csv")
    report = convert(LAYOUTS["urbansound8k"], lay_out(tmp_path, files), tmp_path / "m.csv")
    assert report == Report(rows=2, missing=0)


def test_fsd50k(tmp_path: Path) -> None:
    _, rows = converted(tmp_path, "fsd50k")
    assert [(r.file.name, r.split, r.label, r.recording) for r in rows] == [
        ("64760.wav", "train", "", "fs:64760"),
        ("16399.wav", "valid", "Rain", "fs:16399"),
        ("37199.wav", "test", "", "fs:37199"),
    ]
    assert rows[0].labels == ("Electric_guitar", "Guitar", "Music")
    assert rows[0].captions == ("Electric guitar", "Guitar", "Music")
    assert [r.columns["licence"] for r in rows] == ["CC BY-NC 3.0", "", ""]


def test_clotho(tmp_path: Path) -> None:
    _, rows = converted(tmp_path, "clotho")
    assert [(r.file.name, r.split, r.recording) for r in rows] == [
        ("Distorted AM Radio noise.wav", "train", "fs:80399"),
        ("Rain.wav", "valid", ""),
        ("Santa Motor.wav", "test", ""),
    ]
    assert rows[0].captions == ("A noise, loud", "b", "c", "d", "e,f")
    assert rows[0].columns["licence"] == "CC BY 3.0"
    next(tmp_path.rglob("clotho_metadata_validation.csv")).unlink()
    with pytest.raises(ManifestError, match="which recordings"):
        convert(LAYOUTS["clotho"], tmp_path / "source", tmp_path / "again.csv")


def test_audiocaps_with_the_captions_of_a_clip_together(tmp_path: Path) -> None:
    report, rows = converted(tmp_path, "audiocaps")
    assert report == Report(rows=2, missing=1)
    assert facts(rows) == [
        (f"{VIDEO}_130.flac", "train", "", ("A woman talks as water pours",), f"yt:{VIDEO}"),
        (f"Y{OTHER}.wav", "valid", "", ("one", "two"), f"yt:{OTHER}"),
    ]


def test_auto_acd_of_both_its_sources(tmp_path: Path) -> None:
    report, rows = converted(tmp_path, "auto-acd")
    assert report == Report(rows=2, missing=1)
    thunder = ("Rain falls, then thunder.", "Water pours.")
    assert facts(rows) == [
        (f"{VIDEO}_30.000.wav", "train", "", ("A dog barks in a hall.",), f"yt:{VIDEO}"),
        (f"{OTHER}_000117.wav", "train", "", thunder, f"yt:{OTHER}"),
    ]
    assert [r.columns["subset"] for r in rows] == ["AudioSet", "VGGSound"]


def test_auto_acd_takes_no_sound_of_another_clip_of_the_video(tmp_path: Path) -> None:
    lines = f"youtube_id,caption\n{VIDEO},wind\n{VIDEO}_000030,rain\n{OTHER},a bell\n"
    files = {"train.csv": lines, f"Y{VIDEO}.wav": "", f"{OTHER}_000117.wav": ""}
    report, rows = converted(tmp_path, "auto-acd", files)
    assert report == Report(rows=2, missing=1)
    assert [(r.file.name, r.captions) for r in rows] == [
        (f"Y{VIDEO}.wav", ("wind",)),
        (f"{OTHER}_000117.wav", ("a bell",)),
    ]


def test_audioset(tmp_path: Path) -> None:
    report, rows = converted(tmp_path, "audioset")
    assert report == Report(rows=2, missing=1)
    speech, rain = rows
    names = dict(audioset())
    assert speech.labels == (names["/m/09x0r"], names["/t/dd00088"])
    assert (speech.label, speech.columns["subset"]) == ("", "balanced_train")
    assert (rain.label, rain.labels, rain.captions) == ("Rain", ("Rain",), ("Rain",))
    assert (rain.split, rain.recording) == ("train", f"yt:{OTHER}")


def test_wavcaps_with_one_number_in_two_collections(tmp_path: Path) -> None:
    report, rows = converted(tmp_path, "wavcaps")
    assert report == Report(rows=4, missing=1)
    assert [(r.file.parent.name, r.captions[0], r.recording) for r in rows] == [
        ("AudioSet_SL_flac", "Wind.", f"yt:{VIDEO}"),
        ("BBC_Sound_Effects_flac", "Sawing.", "bbc:07066104"),
        ("FreeSound", "A ringtone.", "fs:2219"),
        ("SoundBible_flac", "An airplane is landing.", "soundbible:2219"),
    ]
    assert {r.split for r in rows} == {"train"}


def test_one_recording_in_two_data_sets_is_a_leak(tmp_path: Path) -> None:
    _, esc50 = converted(tmp_path / "a", "esc50")
    _, urban = converted(tmp_path / "b", "urbansound8k")
    assert "fs:100032" in {leak.what for leak in find_leaks([*esc50, *urban])}


@pytest.mark.parametrize(
    "name",
    [
        "{v}_30", "Y{v}_30", "{v}_30_40", "{v}_30.000", "{v}_30.000_40.000", "{v}_000030",
        "Y{v}_30000", "{v}_30000_40000", "{v}", "Y{v}", "12345",
    ],
)  # fmt: skip
@pytest.mark.parametrize("video", [VIDEO, OTHER])
def test_a_clip_is_found_by_every_common_name(tmp_path: Path, name: str, video: str) -> None:
    stem = name.format(v=video)
    lay_out(tmp_path, {f"a/{stem}.mp3": "", f"b/{stem}.wav": "", f"{video}_77.wav": ""})
    assert Videos(tmp_path).find(video, 30, 40, "12345") == tmp_path / "b" / f"{stem}.wav"
    assert not Videos(tmp_path).find(GONE, 30, 40).exists()


def test_folders_that_link_in_a_circle_are_walked_once(tmp_path: Path) -> None:
    lay_out(tmp_path, {"a/x.wav": "", "a/.hidden.wav": "", "a/notes.txt": ""})
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert by_stem(sound_files(tmp_path)) == {"x": str(tmp_path / "a" / "x.wav")}


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("http://creativecommons.org/licenses/by-nc/3.0/", "CC BY-NC 3.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0 1.0"),
        ("http://creativecommons.org/licenses/sampling+/1.0/", "CC SAMPLING+ 1.0"),
        ("Attribution", "Attribution"),
    ],
)
def test_licences_have_short_names(address: str, name: str) -> None:
    assert licence_name(address) == name


@pytest.mark.parametrize(
    ("name", "table", "text", "message"),
    [
        ("esc50", "meta/esc50.csv", "filename,fold\n", "esc50.csv, line 1: .* 'target', 'cat"),
        ("urbansound8k", "metadata/UrbanSound8K.csv", "a,b\n", "K.csv, line 1: .* 'slice_file"),
        ("clotho", "clotho_captions_validation.csv", "file_name\n", "line 1: .* 'caption_1'"),
        ("audiocaps", "dataset/val.csv", "youtube_id,caption\n", "val.csv, line 1: .* 'audio"),
        (
            "audiocaps",
            "dataset/val.csv",
            AUDIOCAPS_HEADER + "1,v,soon,x\n",
            "val.csv, line 2: start_time 'soon' is no number",
        ),
        ("auto-acd", "test.csv", "id,caption\n", "test.csv, line 1: .* 'youtube_id'"),
        ("auto-acd", "test.csv", "youtube_id,caption\nabc,x\n", "test.csv, line 2: .* 'abc'"),
        (
            "fsd50k",
            "FSD50K.ground_truth/dev.csv",
            "fname,labels,mids\n",
            "dev.csv, line 1: .* 'split'",
        ),
        (
            "fsd50k",
            "FSD50K.ground_truth/dev.csv",
            "fname,labels,mids,split\n1,Rain,/m,dev\n",
            "dev.csv, line 2: the split 'dev'",
        ),
        ("esc50", "meta/esc50.csv", "", "esc50.csv, line 1: .*columns: none"),
        (
            "urbansound8k",
            "metadata/UrbanSound8K.csv",
            "slice_file_name,fsID,start,end,salience,fold,classID,class\nx.wav,1\n",
            "line 2: 8 cells are needed",
        ),
        (
            "audioset",
            "eval_segments.csv",
            AUDIOSET_HEAD + f"{VIDEO}, 0, 10, /m/1,/m/2\n",
            "eval_segments.csv, line 4: not the four cells",
        ),
        (
            "audioset",
            "eval_segments.csv",
            AUDIOSET_HEAD + f'{VIDEO}, 0, 10, "/m/none"\n',
            "line 4: '/m/none' is none of AudioSet's 527",
        ),
        ("wavcaps", "json_files/SoundBible/sb_final.json", "{\n]", "sb_final.json, line 2"),
        ("wavcaps", "json_files/SoundBible/sb_final.json", "{}", "there is no list 'data'"),
        (
            "wavcaps",
            "json_files/SoundBible/sb_final.json",
            '{"data": [{"id": "1"}]}',
            "sb_final.json, entry 1",
        ),
        (
            "wavcaps",
            "json_files/SoundBible/sb_final.json",
            '{"data": [{"id": "1", "caption": "a"}, {"id": "2", "caption": ""}]}',
            "sb_final.json, entry 2 of 'data': id or caption is missing or empty",
        ),
        (
            "audiocaps",
            "dataset/val.csv",
            AUDIOCAPS_HEADER + "1,v,0,rain\n2,w,0, \n",
            "val.csv, line 3: caption is empty",
        ),
        (
            "auto-acd",
            "train.csv",
            f"youtube_id,caption\n{VIDEO},\n",
            "train.csv, line 2: caption is empty",
        ),
        (
            "clotho",
            "clotho_captions_evaluation.csv",
            CLOTHO_HEADER + "a.wav,b,,,,\nx.wav,,,,,\n",
            "evaluation.csv, line 3: all five captions are empty",
        ),
        (
            "esc50",
            "meta/esc50.csv",
            "filename,fold,target,category,esc10,src_file,take\n1-1-A-0.wav,1,0,,True,1,A\n",
            "esc50.csv, line 2: category is empty",
        ),
        (
            "urbansound8k",
            "metadata/UrbanSound8K.csv",
            "slice_file_name,fsID,start,end,salience,fold,classID,class\nx.wav,1,0,1,1,,3,dog_bark\n",
            "line 2: fold is empty",
        ),
        (
            "fsd50k",
            "FSD50K.ground_truth/dev.csv",
            'fname,labels,mids,split\n1,"Rain,",/m,train\n',
            "dev.csv, line 2: a label is empty",
        ),
        (
            "audioset",
            "eval_segments.csv",
            AUDIOSET_HEAD + f'{VIDEO}, 0, 10, ""\n',
            "eval_segments.csv, line 4: '' is none of AudioSet's 527",
        ),
    ],
)
def test_a_table_that_is_not_as_published_is_named_with_its_line(
    tmp_path: Path, name: str, table: str, text: str, message: str
) -> None:
    lay_out(tmp_path, {**PUBLISHED[name], table: text})
    with pytest.raises(ManifestError, match=message):
        convert(LAYOUTS[name], tmp_path, tmp_path / "m.csv")
    assert not (tmp_path / "m.csv").exists()


@pytest.mark.parametrize("name", PUBLISHED)
def test_tables_without_a_single_sound_are_refused(tmp_path: Path, name: str) -> None:
    tables = {k: v for k, v in PUBLISHED[name].items() if k.endswith((".csv", ".json"))}
    with pytest.raises(ManifestError, match=f"none of the .* {name}'s .* sought below"):
        convert(LAYOUTS[name], lay_out(tmp_path, tables), tmp_path / "m.csv")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_folder_without_the_tables_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ManifestError, match="holds none of"):
        convert(LAYOUTS[name], tmp_path, tmp_path / "m.csv")


def test_the_command_converts_what_it_is_told_or_what_it_finds(tmp_path: Path) -> None:
    source = lay_out(tmp_path / "source", AUDIOCAPS)
    for layout in ("audiocaps", "auto"):
        out = tmp_path / f"{layout}.csv"
        result = CliRunner().invoke(build(), ["convert", layout, str(source), str(out), "--json"])
        told = {"layout": "audiocaps", "manifest": str(out), "rows": 2, "missing": 1}
        assert json.loads(result.stdout) == told
        assert len(read_manifest(out)) == 2
    result = CliRunner().invoke(build(), ["convert", "auto", str(source), str(out)])
    assert "2 sounds" in result.stdout
    assert "1 left out" in result.stderr and "licence" in result.stderr


def test_the_command_lists_and_refuses(tmp_path: Path) -> None:
    listed = CliRunner().invoke(build(), ["convert", "--list", "--json"])
    assert {layout["name"] for layout in json.loads(listed.stdout)["layouts"]} == set(LAYOUTS)
    assert "esc50: 2,000" in CliRunner().invoke(build(), ["convert", "--list"]).stdout
    out = str(tmp_path / "m.csv")
    wrong = CliRunner().invoke(build(), ["convert", "esc-50", str(tmp_path), out])
    assert wrong.exit_code == 2 and "esc50?" in wrong.stderr
    assert CliRunner().invoke(build(), ["convert", "esc50"]).exit_code == 2
    absent = CliRunner().invoke(build(), ["convert", "esc50", str(tmp_path / "x"), out])
    assert absent.exit_code == 2
    unknown = CliRunner().invoke(build(), ["convert", "auto", str(tmp_path), out])
    assert isinstance(unknown.exception, ClapError)
