# /// script
# requires-python = ">=3.10"
# dependencies = [
#     "numpy==2.4.6",
#     "safetensors==0.8.0",
#     "torch==2.15.0",
#     "torchvision==0.29.2",
# ]
# ///
"""ResNet-18: plain convolutions, batch norm, residual sums."""

import sys
from pathlib import Path

import torchvision

sys.path.insert(0, str(Path(__file__).parents[1]))
import reference  # noqa: E402

reference.record(
    Path(__file__),
    reference="torchvision 0.29.2 resnet18",
    model=torchvision.models.resnet18(num_classes=5),
    size=60,
    batch=4,
    num_classes=5,
)
