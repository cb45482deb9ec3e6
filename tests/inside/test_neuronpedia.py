"""Neuronpedia's own client uploads latents to a server on this machine: make test ARGS="-m peers"."""

import gzip
import json
import os
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from sdlcore.inside.contexts import Context
from sdlcore.inside.features import Feature, Interval, Logits, Pages
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.peers

CLIENT = REPOSITORY / "cache/environments/neuronpedia/bin/python"
ADDRESS = ("127.0.0.1", 3000)
"""Where the client sends what it would send to Neuronpedia, if USE_LOCALHOST is set."""
BLOCKS = 4
SEND = "import sys; from sdlcore.inside.neuronpedia import Upload; Upload.load(sys.argv[1]).send()"


class Neuronpedia(BaseHTTPRequestHandler):
    """Answers as Neuronpedia's API does, as far as its client tells."""

    requests: list[tuple[str, str | None, Any]]

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw)
        self.requests.append((self.path, self.headers.get("X-Api-Key"), body))
        if self.path == "/api/source-set/new":
            ids = [f"{layer}-{body['name']}" for layer in range(BLOCKS)]
            sources = [{"id": id, "modelId": body["modelId"], "setName": body["name"]} for id in ids]
            answer: Any = {key: body[key] for key in ("name", "modelId", "description")}
            answer |= {"urls": [body["url"]] if body["url"] else [], "sources": sources}
        else:
            answer = {"message": f"{len(body['features'])} features"}
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def received() -> Iterator[list[tuple[str, str | None, Any]]]:
    handler = type("Handler", (Neuronpedia,), {"requests": []})
    server = ThreadingHTTPServer(ADDRESS, handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield handler.requests  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


def some_pages(number: int) -> Pages:
    context = Context(2.5, 0, 1, 7, ("The", " river", "\n", " Zoë"), (0.5, 2.5, 0.0, 0.0), 1)
    logits = Logits([(" stone", 1.5), (" water", 1.0)], [(" cloud", -2.0)])
    full = Feature(0, 0.25, 2.5, [1], [context], [Interval(0.5, 1.0, 0.2, [context])], logits, [(1, 0.5)])
    silent = full._replace(density=0.0, largest=0.0, counts=[], contexts=[], intervals=[], logits=None)
    features = [(silent if latent % 2 else full)._replace(latent=3 * latent) for latent in range(number)]
    return Pages("tiny, residual stream after block 2", 1000, 5000, features, block=2)


def test_the_client_sends_what_the_pages_hold(received: Any, tmp_path: Path):
    pages = some_pages(130)
    pages.to_neuronpedia("tiny-llama", "sdl-res-1k", url="https://example.org").save(tmp_path / "upload.json")
    surroundings = os.environ | {"USE_LOCALHOST": "true", "NEURONPEDIA_API_KEY": "a-key", "no_proxy": "*"}
    command = [str(CLIENT), "-c", SEND, str(tmp_path / "upload.json")]
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [path for path, _, _ in received] == ["/api/source-set/new", *["/api/feature/upload-batch"] * 2]
    assert {key for _, key, _ in received} == {"a-key"}
    (_, _, model_request), *batches = received
    assert model_request == {
        "name": "sdl-res-1k",
        "modelId": "tiny-llama",
        "description": pages.title,
        "url": "https://example.org",
    }
    assert {(body["modelId"], body["source"]) for _, _, body in batches} == {("tiny-llama", "1-sdl-res-1k")}
    sent = [feature for _, _, body in batches for feature in body["features"]]
    assert [len(body["features"]) for _, _, body in batches] == [128, 2]
    assert [feature["index"] for feature in sent] == [feature.latent for feature in pages.features]
    first, second, *_ = sent
    assert first["density"] == 0.25
    assert first["topLogits"] == [{"token": " stone", "value": 1.5}, {"token": " water", "value": 1.0}]
    assert first["bottomLogits"] == [{"token": " cloud", "value": -2.0}]
    activation, lower = first["activations"]
    assert activation["quantileMax"] is None
    assert (lower["quantileMin"], lower["quantileMax"], lower["quantileFraction"]) == (0.5, 1.0, 0.2)
    assert activation["tokens"] == ["The", " river", "\n", " Zoë"]
    assert activation["values"] == [0.5, 2.5, 0.0, 0.0]
    assert second["activations"] == second["topLogits"] == []
