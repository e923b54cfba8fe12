# /// script
# requires-python = ">=3.10"
# dependencies = [
#     "numpy==2.4.6",
#     "safetensors==0.8.0",
#     "torch==2.15.0",
#     "torchvision==0.29.2",
# ]
# ///
"""ResNeXt-50 32x4d: grouped convolutions, bottlenecks."""

import sys
from pathlib import Path

import torchvision

sys.path.insert(0, str(Path(__file__).parents[1]))
import reference  # noqa: E402

reference.record(
    Path(__file__),
    reference="torchvision 0.29.2 resnext50_32x4d",
    model=torchvision.models.resnext50_32x4d(num_classes=5),
    size=42,
    batch=3,
    num_classes=5,
)
