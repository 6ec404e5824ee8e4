"""OpenAI's own client works unchanged: as it asks by default, and in floats; its errors are raised."""

from pathlib import Path

import httpx
import numpy as np
import openai
import pytest

from m2d_clap.model import Checkpoint


def test_their_client_gets_vectors_and_their_errors(served: str, served_folder: Path) -> None:
    clap = Checkpoint.load(served_folder / "tiny").clap()
    expected = clap.embed_text(["rain", "a dog"]).numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    with (
        httpx.Client(trust_env=False) as plain,
        openai.OpenAI(api_key="any", base_url=f"{served}/v1", http_client=plain) as client,
    ):
        answer = client.embeddings.create(input=["rain", "a dog"], model="m2d-clap")
        assert np.array([e.embedding for e in answer.data]) == pytest.approx(expected, abs=1e-5)
        floats = client.embeddings.create(input="rain", model="x", encoding_format="float")
        assert np.array(floats.data[0].embedding) == pytest.approx(expected[0], abs=1e-5)
        assert floats.usage.total_tokens == 1
        with pytest.raises(openai.UnprocessableEntityError, match="384 numbers") as error:
            client.embeddings.create(input="rain", model="x", dimensions=7)
        assert error.value.code == "invalid_request"
