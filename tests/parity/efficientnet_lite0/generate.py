# /// script
# requires-python = ">=3.10"
# dependencies = [
#     "numpy==2.4.6",
#     "safetensors==0.8.0",
#     "torch==2.15.0",
#     "efficientnet-lite-pytorch==0.1.0",
# ]
# ///
"""EfficientNet-Lite0: TensorFlow's SAME padding, batch norm with eps 1e-3 and momentum 0.01."""

import sys
from pathlib import Path

from efficientnet_lite_pytorch import EfficientNet

sys.path.insert(0, str(Path(__file__).parents[1]))
import reference  # noqa: E402

reference.record(
    Path(__file__),
    reference="efficientnet-lite-pytorch 0.1.0 efficientnet-lite0",
    model=EfficientNet.from_name(
        "efficientnet-lite0", image_size=60, num_classes=5, dropout_rate=0.0, drop_connect_rate=0.0
    ),
    size=60,
    batch=4,
    num_classes=5,
)
