"""Settings come from the command line, the environment or a file; a wrong one is named."""

from pathlib import Path

import pytest

from m2d_clap.index.errors import LibraryIndexError
from m2d_clap.index.milvus.address import parse
from m2d_clap.service.settings import Settings, SettingsError, load


def written(folder: Path, text: str) -> Path:
    file = folder / "settings.toml"
    file.write_text(text)
    return file


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, 'index = "a"\nport = 1\nhost = "h"\nthreads = 3\n')
    monkeypatch.setenv("M2D_CLAP_PORT", "2")
    monkeypatch.setenv("M2D_CLAP_THREADS", "4")
    settings = load({"port": 5}, file)
    assert (settings.index, settings.host) == (Path("a"), "h")
    assert (settings.port, settings.threads) == (5, 4)


def test_what_is_printed_is_a_file_that_says_the_same(tmp_path: Path) -> None:
    chosen = load(
        {"index": tmp_path / 'a "b"', "cors_origins": ["https://a.b"], "rate_limit": "5/second"}
    )
    assert load({}, written(tmp_path, chosen.as_toml())) == chosen
    for name in Settings.model_fields:
        assert name in chosen.as_toml()


@pytest.mark.parametrize("password", ["s3cret", "s3@cret", "s3/cret", "s3@c/ret"])
def test_a_password_in_an_address_is_not_printed(password: str) -> None:
    said = load({"index": f"milvus+tls://ann:{password}@host/sounds"}).as_toml()
    assert "s3" not in said and "ret@" not in said
    assert '# index = "milvus+tls://host/sounds" with its account: set M2D_CLAP_INDEX' in said


@pytest.mark.parametrize("password", ["s3cret", "s3@cret", "s3/cret", "s3@c/ret"])
def test_an_address_that_cannot_be_read_is_told_without_its_password(password: str) -> None:
    with pytest.raises(LibraryIndexError) as told:
        parse(f"milvus+tls://ann:{password}@host/no name")
    assert "s3" not in str(told.value) and "ret@" not in str(told.value)


def test_an_unknown_setting_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="max_upload"):
        load({}, written(tmp_path, 'index = "a"\nmax_upload = 1\n'))
    monkeypatch.setenv("M2D_CLAP_DECODER", "2")
    with pytest.raises(SettingsError, match="M2D_CLAP_DECODER"):
        load({"index": "a"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threads", "many"),
        ("max_seconds", -1),
        ("rate_limit", "often"),
        ("cors_origins", ["example.org"]),
        ("precision", "int8"),
    ],
)
def test_a_wrong_value_names_its_setting(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=name):
        load({"index": "a", name: value})


def test_without_an_index_or_with_a_broken_file_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="index"):
        load({})
    with pytest.raises(SettingsError, match="cannot read"):
        load({}, written(tmp_path, "index = "))
    with pytest.raises(SettingsError, match="cannot read"):
        load({}, tmp_path / "none.toml")
