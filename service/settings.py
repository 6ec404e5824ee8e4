"""Everything an operator can choose. Only this file reads the environment."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Each field is also an environment variable: M2D_CLAP_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="M2D_CLAP_", frozen=True)

    index: Path = Field(description="the index folder to search")
    checkpoint: Path | None = Field(None, description="default: the one the index was made with")
    text_encoder_path: Path | None = Field(
        None, description="folder of the text encoder, where it is not inside the checkpoint"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(None, ge=1, description="CPU threads of the encoders")
    max_upload_bytes: int = Field(64 * 2**20, ge=1, description="body of a request, bytes")
    max_seconds: float = Field(600.0, gt=0, description="sound of an upload, seconds")
    min_seconds: float = Field(0.1, ge=0, description="shortest sound of an upload, seconds")
    decoders: int = Field(2, ge=1, description="uploads decoded at the same time")
    waiting_uploads: int = Field(32, ge=1, description="uploads in the decoders' queue")
    waiting_seconds: float = Field(3600.0, gt=0, description="sound in the audio queue, seconds")
    waiting_texts: int = Field(2048, ge=1, description="texts in the text queue")
    patience_seconds: float = Field(
        300.0, gt=0, description="a batch that takes longer ends the encoding process"
    )
