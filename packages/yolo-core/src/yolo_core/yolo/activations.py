"""The activations of YOLOv5 networks, by name.

    silu        x * sigmoid(x)
    relu        max(x, 0)
    relu6       min(max(x, 0), 6)
    leaky       x where positive, else slope * x; the slope is 0.1, or follows the word (leaky0.01)
    hardswish   x * min(max(x + 3, 0), 6) / 6
    mish        x * tanh(log(1 + exp(x)))
    identity    x

Formulas: PyTorch's documentation of `torch.nn`. What a framework or the quantizer makes of each
stands with that framework (`yolo_core.mxnet.network`, the NumPy oracle of yolo-port, the tables
of yolo-mrt).
"""

from __future__ import annotations

import re

#: Slope of "leaky" when the word does not say, as in YOLOv5's own models.
LEAKY_SLOPE = 0.1
ACTIVATIONS = ("silu", "relu", "relu6", "leaky", "hardswish", "mish", "identity")

#: Class of `torch.nn` → word.
TORCH_ACTIVATIONS = {
    "SiLU": "silu",
    "ReLU": "relu",
    "ReLU6": "relu6",
    "LeakyReLU": "leaky",
    "Hardswish": "hardswish",
    "Mish": "mish",
    "Identity": "identity",
}
#: Slope of PyTorch's `LeakyReLU()` without arguments.
_TORCH_SLOPE = 0.01
_LEAKY = re.compile(r"leaky(0\.\d{1,6}|1\.0)?")
_TORCH_TEXT = re.compile(
    r"(?:torch\.)?(?:nn\.)?(\w{1,20})\((?:negative_slope ?= ?)?(\d\.\d{1,6})?"
    r"(?:,? ?inplace ?= ?(?:True|False))?\)"
)


def split_activation(word: str) -> tuple[str, float]:
    """Kind and slope of an activation: ("leaky", 0.1) for "leaky"; the slope is 0 of any other.

    ValueError for a word that is none of `ACTIVATIONS`.
    """
    leaky = _LEAKY.fullmatch(word)
    if leaky:
        return "leaky", float(leaky.group(1) or LEAKY_SLOPE)
    if word not in ACTIVATIONS:
        raise ValueError(word)
    return word, 0.0


def leaky(slope: float) -> str:
    """The word of a leaky ReLU with this slope. ValueError for a slope outside 1e-6…1."""
    if not 1e-6 <= slope <= 1:
        raise ValueError(slope)
    # 1e-2 must not be written with an exponent, which the word has no place for.
    text = f"{slope:.6f}".rstrip("0")
    return "leaky" if slope == LEAKY_SLOPE else f"leaky{text if text[-1] != '.' else text + '0'}"


def is_activation(word: object) -> bool:
    """Whether a value is the word of an activation."""
    try:
        return isinstance(word, str) and bool(split_activation(word))
    except ValueError:
        return False


def from_torch_text(text: str) -> str:
    """The word for an activation as a YOLOv5 model yaml writes it, `nn.LeakyReLU(0.1)`.

    Our own words pass as they are. ValueError for anything else; nothing is evaluated.
    """
    if is_activation(text):
        return text
    found = _TORCH_TEXT.fullmatch(text.strip()) if len(text) < 80 else None
    if found is None or found.group(1) not in TORCH_ACTIVATIONS:
        raise ValueError(text[:80])
    word = TORCH_ACTIVATIONS[found.group(1)]
    if word == "leaky":
        return leaky(float(found.group(2) or _TORCH_SLOPE))
    if found.group(2):
        raise ValueError(text[:80])
    return word
