"""What the page of a server shows and does: the models of the store, detection, verification."""

from __future__ import annotations

import re
import time
from email.message import Message
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from yolo_core.arrays import Array
from yolo_core.detecting.run import as_records
from yolo_core.errors import InputError
from yolo_core.graph import Graph, bind, load_program
from yolo_core.graph.costs.gas import gas
from yolo_core.yolo.letterbox import decode_image
from yolo_core.yolo.model_folder import Extension, check_extension
from yolo_core.yolo.predictor import display_settings
from yolo_cvm.arrays import array_from
from yolo_cvm.bundle import manifest as bundle_manifest
from yolo_cvm.bundle.build import MANIFEST
from yolo_cvm.bundle.card import write_card
from yolo_cvm.bundle.layout import manifest_beside
from yolo_cvm.node import machine
from yolo_cvm.node.caches import ByteCache
from yolo_cvm.node.http import Head, Response
from yolo_cvm.node.serving import Serving
from yolo_cvm.node.store import DATA, PARAMS, SYMBOL
from yolo_cvm.node.work import Workers
from yolo_cvm.predictor import IntegerPredictor, meaning
from yolo_cvm.receipts import AnyReceipt, receipt_from, run_with_receipt, tensor_digest, verify
from yolo_cvm.receipts.record import sha256_of

_TYPES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_HEADERS = (
    ("Content-Security-Policy", "default-src 'self'; img-src 'self' blob: data:"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-cache"),
)
_NAME = re.compile(rb'name="([^"\r\n]{1,100})"')
_HASH = re.compile("[0-9a-f]{40}")
_PARTS = 16
_NO_LIMIT = 1 << 62
_DESCRIBED = 1024
_WAITING = 16
_PATIENCE_SECONDS = 120.0


class Page:
    """The people's side of a server. Safe for threads."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._described: ByteCache[dict[str, Any]] = ByteCache(_DESCRIBED, lambda _: 1)
        self._digests: ByteCache[tuple[str, str]] = ByteCache(_DESCRIBED, lambda _: 1)
        # Apart from the node's, since a receipt of a large picture takes seconds.
        self._workers = Workers(1, _WAITING)

    def file(self, path: str) -> Response | None:
        """A file of the page, or None where the path is none of it."""
        if path not in _TYPES:
            return None
        name, kind = _TYPES[path]
        data = (resources.files("yolo_cvm.node") / "static" / name).read_bytes()
        return Response(data, content_type=kind, headers=_HEADERS)

    def models(self) -> list[dict[str, Any]]:
        """Every model of the store: info_hash, title, detector, facts, card."""
        found = []
        for info_hash, root in self._serving.store.models():
            known = self._described.get(info_hash)
            if known is None:
                known = self._describe(info_hash, root)
                self._described.put(info_hash, known)
            found.append(known)
        return found

    def forget(self) -> None:
        """Read the descriptions again."""
        self._described.clear()
        self._digests.clear()

    def close(self) -> None:
        """End the thread once its present job is done."""
        self._workers.close()

    def detect(self, head: Head, body: bytes) -> dict[str, Any]:
        """What `POST /detect` answers: boxes, digests, gas and receipt of one picture.

        The body is the picture, or a form with a file `picture`. In the query or the form:
        `model` (an info hash; needed where the store has several detectors), `conf`, `iou`,
        `receipt` (0 leaves it out, which is faster). InputError for what cannot be used.
        """
        fields = _fields(head, body)
        conf, iou = _number(fields, "conf"), _number(fields, "iou")
        with_receipt = fields.get("receipt", b"1") != b"0"
        info_hash = self._chosen(fields)

        def job() -> dict[str, Any]:
            begin = time.monotonic()
            predictor = self._detector(info_hash)
            settings = display_settings(predictor, conf, iou)
            image = decode_image(fields.get("picture", b""), "picture")
            values, placement = predictor.encode(image)
            heads, told = _computed(predictor, values, with_receipt)
            found = predictor.decode(heads, settings)
            found[:, :4] = placement.to_image(found[:, :4])
            return {
                "model": info_hash,
                "height": image.shape[0],
                "width": image.shape[1],
                "detections": as_records(found, predictor.architecture.names),
                "milliseconds": round((time.monotonic() - begin) * 1000, 1),
                **told,
            }

        result: dict[str, Any] = self._workers.run(object(), job, _PATIENCE_SECONDS)
        return result

    def verify(self, head: Head, body: bytes) -> dict[str, Any]:
        """What `POST /verify` answers: whether a receipt holds.

        The body is a form with the files `receipt` and `picture`, or `input`, a `.npy` file.
        InputError where there is no such receipt, model or picture.
        """
        fields = _fields(head, body)
        receipt = receipt_from(fields.get("receipt", b""), "receipt")
        info_hash = self._model_of(receipt)

        def job() -> str | None:
            if "input" in fields:
                model = self._serving.model(info_hash)
                return verify(receipt, model, array_from(fields["input"], "input"))
            if "picture" not in fields:
                raise InputError("picture", "is missing", "the picture that the receipt is about")
            predictor = self._detector(info_hash)
            values, _ = predictor.encode(decode_image(fields["picture"], "picture"))
            return verify(receipt, predictor.model, values)

        difference = self._workers.run(object(), job, _PATIENCE_SECONDS)
        verdict = f"It differs: {difference}." if difference else f"Verified, {receipt.told()}."
        return {"verified": not difference, "verdict": verdict, "model": info_hash}

    def _chosen(self, fields: dict[str, bytes]) -> str:
        asked = fields.get("model", b"").decode("ascii", "replace").lower()
        asked = asked[2:] if asked.startswith("0x") else asked
        detectors = [model["info_hash"] for model in self.models() if model["detector"]]
        if not asked and len(detectors) == 1:
            return str(detectors[0])
        if asked not in detectors:
            cause = f"{asked:.60} is no detector of the store" if asked else "is not named"
            raise InputError("model", cause, ", ".join(detectors) or "a store with a detector")
        return asked

    def _detector(self, info_hash: str) -> IntegerPredictor:
        root = dict(self._serving.store.models()).get(info_hash)
        content = self._manifest(info_hash, root) if root is not None else None
        if content is None:
            raise InputError("model", f"{info_hash} says nothing about detection")
        model = self._serving.model(info_hash)
        return IntegerPredictor(model, meaning(content["extension"], MANIFEST, model))

    def _manifest(self, info_hash: str, root: Path) -> dict[str, Any] | None:
        """The manifest of a model, where a sound one lies beside it."""
        for name in (MANIFEST, manifest_beside(info_hash)):
            data = self._serving.store.beside(root, name, bundle_manifest.LIMIT)
            if data is None:
                continue
            try:
                content = bundle_manifest.decode(data, name)
            except InputError:
                continue
            if content.get("info_hash") == info_hash:
                return content
        return None

    def _describe(self, info_hash: str, root: Path) -> dict[str, Any]:
        record: dict[str, Any] = {
            "info_hash": info_hash, "title": "Integer model", "detector": False,
            "facts": {}, "card": None, "error": None,
        }  # fmt: skip
        try:
            symbol = self._serving.store.read(info_hash, (DATA, SYMBOL), machine.SYMBOL_LIMIT)
            graph = load_program(symbol, compat=True)
            record["facts"] = {
                "Gas": f"{gas(graph):,}",
                "Input": f"{_sizes(graph.input_shape)}, {graph.input_precision} bits",
                "Output": ", ".join(map(_sizes, graph.head_shapes)),
            }
            content = self._manifest(info_hash, root)
            if content is not None:
                extension = self._detection(info_hash, content, graph)
                record["card"] = write_card(content, extension)
                record["detector"] = extension is not None
                record["title"] = record["card"].splitlines()[0].lstrip("# ").replace("\\", "")
        except InputError as error:
            record["error"] = str(error)
        return record

    def _detection(
        self, info_hash: str, content: dict[str, Any], program: Graph
    ) -> Extension | None:
        """What the integers mean, where a manifest says so about a program of its own."""
        given = content.get("extension")
        if not isinstance(given, dict) or "detection" not in given:
            return None
        extension = Extension.from_dict(given, MANIFEST)
        # How a graph decides stands in its parameters, too.
        params = self._serving.store.read(info_hash, (DATA, PARAMS), _NO_LIMIT)
        check_extension(extension, bind(program, params, compat=True), MANIFEST)
        return extension

    def _model_of(self, receipt: AnyReceipt) -> str:
        """The model of the store that a receipt is about."""
        for info_hash, _ in self._serving.store.models():
            if self._digests_of(info_hash) == (receipt.symbol, receipt.params):
                return info_hash
        raise InputError("receipt", "is about a model that the store does not have")

    def _digests_of(self, info_hash: str) -> tuple[str, str]:
        known = self._digests.get(info_hash)
        if known is None:
            read = self._serving.store.read
            symbol, params = (
                sha256(read(info_hash, (DATA, name), _NO_LIMIT)).hexdigest()
                for name in (SYMBOL, PARAMS)
            )
            known = (symbol, params)
            self._digests.put(info_hash, known)
        return known


def _computed(
    predictor: IntegerPredictor, values: Array, with_receipt: bool
) -> tuple[list[Array], dict[str, Any]]:
    """The heads of one inference, and the digests, the gas and the receipt to tell about it.

    The digests are those of `yolo-cvm run`; several heads have one, over theirs in order.
    """
    model = predictor.model
    if with_receipt:
        heads, receipt = run_with_receipt(model, values)
        text = receipt.to_json()
    else:
        heads, text = model.run(values), None
    digests = tuple(tensor_digest(head) for head in heads)
    return heads, {
        "input_digest": tensor_digest(model.prepare(values)),
        "output_digest": digests[0] if len(digests) == 1 else sha256_of(digests),
        "gas": gas(model.graph),
        "receipt": text,
    }


def _fields(head: Head, body: bytes) -> dict[str, bytes]:
    """Query and form of a request, names to contents; a body that is no form is the picture."""
    query = parse_qs(head.query, max_num_fields=_PARTS)
    fields = {name: values[-1].encode() for name, values in query.items()}
    described = Message()
    described["content-type"] = head.headers.get("content-type", "")
    boundary = described.get_boundary()
    if described.get_content_type() != "multipart/form-data" or not boundary:
        return {**fields, "picture": body}
    parts = body.split(b"--" + boundary.encode("latin-1"), _PARTS + 1)
    for part in parts[1:]:
        start, _, data = part.partition(b"\r\n\r\n")
        name = _NAME.search(start)
        if name:
            fields[name[1].decode("latin-1")] = data[: -len(b"\r\n")]
    return fields


def _number(fields: dict[str, bytes], name: str) -> float | None:
    if name not in fields:
        return None
    try:
        return float(fields[name])
    except ValueError:
        raise InputError(name, "is no number", "a number from 0 to 1") from None


def _sizes(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
