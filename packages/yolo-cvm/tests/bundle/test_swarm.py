"""A real BitTorrent client carries a bundle to another one, over loopback alone.

aria2 (Debian package `aria2`) seeds the folder `<info hash>`; a second aria2 gets nothing but
the `.torrent`, finds the first through a tracker that lives in this test, and downloads. No
DHT, no peer exchange, no local discovery, and the torrent names no tracker but this one.
"""

from __future__ import annotations

import http.server
import shutil
import socket
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from yolo_core.yolo.model_folder import write_model_folder
from yolo_cvm.bundle import Choices, bencode, check_bundle, write_bundle

from .conftest import extension, small_graph

ARIA2 = shutil.which("aria2c")
PATIENCE = 60
LOOPBACK = "127.0.0.1"

pytestmark = pytest.mark.skipif(
    ARIA2 is None, reason="aria2c, the BitTorrent client of Debian's package aria2, is not here"
)


class Tracker(http.server.BaseHTTPRequestHandler):
    """Tells everyone who announces about everyone who did, on loopback (BEP 3, BEP 23)."""

    peers: dict[str, set[int]]

    def do_GET(self) -> None:
        query = urllib.parse.urlsplit(self.path).query
        asked = urllib.parse.parse_qs(query, encoding="latin-1")
        ports = self.peers.setdefault(asked["info_hash"][0], set())
        ports.add(int(asked["port"][0]))
        compact = b"".join(socket.inet_aton(LOOPBACK) + port.to_bytes(2, "big") for port in ports)
        answer = bencode.encode({b"interval": 1, b"peers": compact})
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def tracker() -> Iterator[str]:
    """The announce address of a running tracker."""
    handler = type("FreshTracker", (Tracker,), {"peers": {}})
    with http.server.ThreadingHTTPServer((LOOPBACK, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{LOOPBACK}:{server.server_address[1]}/announce"
        server.shutdown()


def client(home: Path, *options: str) -> list[str]:
    """The command line of a client whose files lie in `home`, beside the file `torrent`."""
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port = free.getsockname()[1]
    return [
        str(ARIA2),
        "--no-conf",
        f"--dir={home}",
        f"--interface={LOOPBACK}",
        f"--listen-port={port}",
        "--enable-dht=false",
        "--enable-dht6=false",
        "--enable-peer-exchange=false",
        "--bt-enable-lpd=false",
        "--disable-ipv6=true",
        "--file-allocation=none",
        "--allow-overwrite=true",
        *options,
        str(home / "torrent"),
    ]


def test_bundle_passes_after_a_trip_through_a_swarm(tracker: str, tmp_path: Path) -> None:
    model, published, copy = (tmp_path / name for name in ("model", "published", "copy"))
    write_model_folder(model, small_graph(channels=1024), extension())
    manifest = write_bundle(model, published, Choices(tiers=((tracker,),)))
    assert manifest["raw_size"] > 5 * 4096, "the model must fill several pieces"
    home = copy / manifest["info_hash"]
    home.mkdir(parents=True)
    shutil.copy(published / home.name / "torrent", home / "torrent")

    seed = client(published / home.name, "--check-integrity=true", "--seed-ratio=0.0")
    with open(tmp_path / "seed.log", "wb") as log, subprocess.Popen(seed, stdout=log) as seeder:
        try:
            fetch = client(home, "--seed-time=0", f"--bt-stop-timeout={PATIENCE}")
            fetched = subprocess.run(fetch, timeout=PATIENCE, capture_output=True, text=True)
        finally:
            seeder.terminate()
    assert fetched.returncode == 0, fetched.stdout

    alone = [step.name for step in check_bundle(home)]
    assert alone == ["files", "model", "no manifest"]
    for name in ("manifest.json", "MODEL_CARD.md"):
        shutil.copy(published / name, copy / name)
    whole = [step.name for step in check_bundle(copy)]
    assert whole == ["manifest", "files", "model", "figures", "self-test"]
