"""What weights files there are: a listing that needs no TensorFlow."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py

import config
from utils import count_of


def describe(path: Path) -> str:
    """Return a line about a weights file: dataset, held-out loss and date, as far as it says."""
    try:
        with h5py.File(path) as file:
            group = file.get("saliency")
            metadata = json.loads(group.attrs["metadata"]) if group is not None else {}
    except (OSError, KeyError, ValueError) as error:
        return f"not readable ({error})"
    if path.name == config.VGG16["file"]:
        return "ImageNet VGG16, the encoder to start from"
    try:
        return _sentence(metadata)
    except (AttributeError, TypeError, ValueError):
        return "what it says of itself is damaged"


def _sentence(metadata: dict[str, Any]) -> str:
    settings = metadata.get("settings", {})
    losses = metadata.get("valid_loss", [])
    parts = [str(settings.get("dataset") or metadata.get("dataset") or "dataset unknown")]
    if losses:
        parts.append(f"held-out loss {min(losses):.4f} after {count_of(len(losses), 'epoch')}")
    if origin := metadata.get("origin"):
        parts.append(str(origin))
    if written := metadata.get("written"):
        parts.append(str(written)[:10])
    return ", ".join(parts)


def listing(paths: Mapping[str, Path]) -> str:
    """Return what is in the folders of weights and what can be fetched, as lines for the user.

    Args:
        paths: "best", "latest" and "weights".
    """
    lines = ["Here:"]
    files = [
        path
        for place in ("best", "latest", "weights")
        for path in sorted(paths[place].glob("*.h5"))
        if not path.name.startswith(".")
    ]
    lines += [f"  {path}: {describe(path)}" for path in files] or ["  none"]
    lines.append("To be fetched:")
    if not (paths["weights"] / config.VGG16["file"]).is_file():
        lines.append("  ImageNet VGG16: train --init imagenet")
    lines += [
        f"  the paper's authors' model for {name}: test -d {name}"
        + (", or train --init pretrained" if name == "salicon" else "")
        for name in config.PRETRAINED
        if not (paths["weights"] / f"model_{name}_pretrained.weights.h5").is_file()
    ]
    return "\n".join(lines)
