# /// script
# requires-python = ">=3.10"
# dependencies = [
#     "numpy==2.4.6",
#     "safetensors==0.8.0",
#     "torch==2.15.0",
#     "torchvision==0.29.2",
# ]
# ///
"""MobileNetV2: depthwise convolutions, ReLU6."""

import sys
from pathlib import Path

import torchvision

sys.path.insert(0, str(Path(__file__).parents[1]))
import reference  # noqa: E402

reference.record(
    Path(__file__),
    reference="torchvision 0.29.2 mobilenet_v2",
    model=torchvision.models.mobilenet_v2(num_classes=5),
    size=64,
    batch=4,
    num_classes=5,
)
