"""Everything an operator can choose. Only this file reads the environment."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from m2d_clap.index.accounts import without_account
from m2d_clap.model.config import Engine
from m2d_clap.service.errors import ServiceError
from m2d_clap.service.uploads import DecodeLimits

_PREFIX = "M2D_CLAP_"


class SettingsError(ServiceError):
    """A setting that is unknown or wrong; the message names it and where it stands."""


class Settings(BaseSettings):
    """Each field is also a line of the TOML file, and a variable: M2D_CLAP_, then its capitals."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid")

    index: Path | str = Field(
        description="the index to search: a folder, or milvus://HOST:PORT/NAME"
    )
    library: Path | None = Field(
        None, description="sounds to index at the start where the index folder holds none yet"
    )
    checkpoint: Path | None = Field(None, description="default: the one the index was made with")
    text_encoder_path: Path | None = Field(
        None, description="folder of the text encoder, where it is not inside the checkpoint"
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="0: any free one")

    writable: bool = Field(
        False, description="whether clips may be added and deleted (with keys: by scope write)"
    )
    compact_after: int = Field(
        4096, ge=1, description="windows added since the index was made, until it is made anew"
    )

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto | cpu | cuda")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the audio encoder: bfloat16 where the processor has it"
    )
    engine: Engine = Field(
        "torch",
        description="of the audio encoder: torch | compile | openvino (an extra, for Intel CPUs)",
    )
    threads: int | None = Field(None, ge=1, description="CPU threads of the encoders")
    patience_seconds: float = Field(
        300.0, gt=0, description="a batch that takes longer ends the encoding process"
    )
    waiting_seconds: float = Field(3600.0, gt=0, description="sound in the audio queue, seconds")
    waiting_texts: int = Field(
        64, ge=1, description="texts in the text queue; what comes when it is full is refused"
    )

    max_upload_bytes: int = Field(
        64 * 2**20,
        ge=1,
        description="body of a request that may hold sounds, bytes; others: at most 1 MiB",
    )
    body_seconds: float = Field(
        30.0, gt=0, description="a request of whose body nothing comes for so long is refused"
    )
    max_seconds: float = Field(600.0, gt=0, description="sound of an upload, seconds")
    min_seconds: float = Field(0.1, ge=0, description="shortest sound of an upload, seconds")
    max_channels: int = Field(64, ge=1, description="of a sound")
    decoders: int = Field(2, ge=1, description="decoding processes")
    waiting_uploads: int = Field(
        32, ge=1, description="uploads worked on, from decoding to answer, beside one per decoder"
    )
    decode_seconds: float = Field(30.0, gt=0, description="decoding one sound may take, by clock")
    decode_cpu_seconds: int = Field(20, ge=1, description="… of processor time")
    decode_memory_bytes: int = Field(512 * 2**20, ge=2**24, description="… of memory")

    keys_file: Path | None = Field(
        None, description="API keys, made by `m2d-clap keys add`; without one everybody is let in"
    )
    rate_limit: str | None = Field(
        None, description='of each key or address, as "60/minute"; several: "5/second;1000/day"'
    )
    cors_origins: tuple[str, ...] = Field(
        (), description='other sites whose pages may ask, as ["https://example.org"]'
    )
    trusted_proxies: tuple[str, ...] = Field(
        (), description="addresses of proxies whose X-Forwarded-For is believed"
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="debug | info | warning | error"
    )
    log_texts: bool = Field(False, description="whether the log holds what was searched for")
    traces_endpoint: str | None = Field(
        None,
        description="where OpenTelemetry traces go, OTLP over HTTP, as "
        '"http://127.0.0.1:4318/v1/traces"; needs m2d-clap[traces]',
    )
    reload_seconds: float = Field(
        5.0, ge=0, description="how often to look for a new index or checkpoint; 0: on SIGHUP only"
    )
    shutdown_seconds: int = Field(
        30, ge=1, description="what was accepted may take this long to finish at shutdown"
    )

    @field_validator("index")
    @classmethod
    def _folder_or_address(cls, given: Path | str) -> Path | str:
        return given if str(given).startswith(("milvus:", "milvus+tls:")) else Path(given)

    @field_validator("rate_limit")
    @classmethod
    def _known_rate(cls, value: str | None) -> str | None:
        from limits import parse_many  # only where limits are used

        if value is not None:
            parse_many(value)  # a ValueError where it is not understood
        return value

    @field_validator("cors_origins")
    @classmethod
    def _whole_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not origin.startswith(("http://", "https://")) or origin.endswith("/"):
                raise ValueError(f"{origin!r} is no origin such as https://example.org")
        return value

    @property
    def decoding(self) -> DecodeLimits:
        return DecodeLimits(
            seconds=self.max_seconds,
            shortest=self.min_seconds,
            channels=self.max_channels,
            processes=self.decoders,
            waiting=self.waiting_uploads,
            patience=self.decode_seconds,
            cpu_seconds=self.decode_cpu_seconds,
            memory=self.decode_memory_bytes,
        )

    def as_toml(self) -> str:
        """Every setting with what it means, as a file that `load` takes. It holds no secret: an address
        with an account in it is left to the environment."""
        lines = []
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            line = f"# {name} =" if value is None else f"{name} = {_toml(value)}"
            if isinstance(value, str) and (shown := without_account(value)) != value:
                line = f"# {name} = {_toml(shown)} with its account: set {_PREFIX}{name.upper()}"
            lines.append(f"{line}  # {field.description}" if field.description else line)
        return "\n".join(lines)


def load(chosen: Mapping[str, Any], file: Path | None = None) -> Settings:
    """Settings from what was chosen on the command line, the environment, the file: in this order.

    Raises SettingsError naming every setting that is unknown or wrong.
    """
    known = Settings.model_fields
    variables = {name: f"{_PREFIX}{name.upper()}" for name in known}
    strange = [v for v in os.environ if v.startswith(_PREFIX) and v not in variables.values()]
    if strange:
        raise SettingsError(
            f"unknown settings in the environment: {', '.join(sorted(strange))}; "
            "`m2d-clap serve --print-settings` lists all"
        )
    written = _read(file) if file is not None else {}
    if strange := sorted(written.keys() - known.keys()):
        raise SettingsError(
            f"unknown settings in {file}: {', '.join(strange)}; "
            "`m2d-clap serve --print-settings` lists all"
        )
    below = {name: value for name, value in written.items() if variables[name] not in os.environ}
    try:
        return Settings.model_validate({**below, **chosen})
    except ValidationError as error:
        wrong = [f"{e['loc'][0] if e['loc'] else '?'}: {e['msg']}" for e in error.errors()]
        raise SettingsError("wrong settings: " + "; ".join(wrong)) from error


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"cannot read the settings in {file}: {error}") from error


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(v) for v in value)}]"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
