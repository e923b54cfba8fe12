# /// script
# requires-python = ">=3.10"
# dependencies = [
#     "numpy==2.4.6",
#     "safetensors==0.8.0",
#     "torch==2.15.0",
#     "torchvision==0.29.2",
# ]
# ///
"""SqueezeNet 1.1: biases, concatenation, pooling in ceil mode, a convolutional head."""

import sys
from pathlib import Path

import torchvision

sys.path.insert(0, str(Path(__file__).parents[1]))
import reference  # noqa: E402

reference.record(
    Path(__file__),
    reference="torchvision 0.29.2 squeezenet1_1",
    model=torchvision.models.squeezenet1_1(num_classes=5),
    size=49,
    batch=5,
    num_classes=5,
)
