"""What a contract needs to read the boxes of a model that decides: Solidity and a Python twin."""

from __future__ import annotations

from pathlib import Path
from string import Template

from yolo_core.errors import InputError
from yolo_core.files import PathLike, atomic_folder, atomic_write
from yolo_core.outputs import check_outputs
from yolo_core.yolo.model_folder import Extension
from yolo_cvm.bundle import torrent
from yolo_cvm.bundle.build import read_model
from yolo_cvm.model import load, model_files
from yolo_cvm.predictor import read_extension

FILES = ("Boxes.sol", "BoxesExample.sol", "boxes_abi.py")
_TEMPLATES = Path(__file__).parent / "templates"
_BYTES_PER_BOX = 24
_WORD_BYTES = 32
_SQUASH = """        return Placement(WIDTH, HEIGHT, 0, 0);"""
_LETTERBOX = """        uint256 wide = WIDTH;
        uint256 tall = HEIGHT;
        if (HEIGHT * width <= WIDTH * height) {
            wide = atLeastOne(even(width * HEIGHT, height));
        } else {
            tall = atLeastOne(even(height * WIDTH, width));
        }
        return Placement(wide, tall, int256((WIDTH - wide) / 2), int256((HEIGHT - tall) / 2));"""


def write_contract(model: PathLike, out: PathLike) -> list[Path]:
    """Write `FILES` for the model folder or bundle `model` into the folder `out`; their paths.

    InputError where the model's graph does not decide by itself.
    """
    check_outputs(inputs=[model], folders=[out])
    extension = read_extension(model, load(model, engine="reference"))
    files = read_model(model_files(model)[0].parent)
    info = torrent.model_info(files.symbol, files.params, torrent.PIECE_LENGTH)
    words = _words(extension, info.info_hash) if isinstance(extension, Extension) else None
    if words is None:
        raise InputError(
            model, "puts out rows, which no contract reads",
            "a model whose graph decides: yolo-mrt boxes MODEL --out DIR",
        )  # fmt: skip
    with atomic_folder(out) as folder:
        for name in FILES:
            text = (_TEMPLATES / f"{name}.template").read_text("utf-8")
            atomic_write(folder / name, Template(text).substitute(words))
    return [Path(out) / name for name in FILES]


def _words(extension: Extension, info_hash: str) -> dict[str, str] | None:
    """What the templates leave open; None for a model of rows."""
    boxes = extension.boxes
    if boxes is None:
        return None
    height, width = extension.imgsz
    squash = extension.letterbox == "squash"
    classes = extension.architecture.nc
    return {
        "TITLE": f"{classes} classes, score above {boxes.conf:g}, overlap below {boxes.iou} %",
        "INFO_HASH": info_hash,
        "MAX_DET": str(boxes.max_det),
        "WORDS": str(-(-boxes.max_det * _BYTES_PER_BOX // _WORD_BYTES)),
        "SCORE": str(1 << boxes.score_bits),
        "PIXEL": str(1 << boxes.pixel_bits),
        "WIDTH": str(width),
        "HEIGHT": str(height),
        "MODE": extension.letterbox,
        "FIT": "stretched to fill it" if squash else "scaled to fit, centred on grey",
        "PLACE": _SQUASH if squash else _LETTERBOX,
    }
