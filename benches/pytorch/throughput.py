# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "torchvision==0.29.2", "numpy"]
# ///
"""PyTorch's side of `cargo xtask bench`: one model, one mode, one memory layout, one process.

Prints one JSON line: `samples_per_second` (median), `step_ms` (every step) and `peak_rss_mib` of this process.
"""

import argparse
import json
import resource
import statistics
import time

import torch
import torchvision


def step_function(arguments, model, images, labels):
    if arguments.mode == "forward":
        model.eval()

        def forward():
            with torch.inference_mode():
                model(images)

        return forward
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    criterion = torch.nn.CrossEntropyLoss()

    def train():
        optimizer.zero_grad()
        criterion(model(images), labels).backward()
        optimizer.step()

    return train


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--mode", choices=["forward", "train"], default="forward")
    parser.add_argument("--layout", choices=["default", "channels_last"], default="default")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=2)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    model = getattr(torchvision.models, arguments.model)(weights=None)
    images = torch.randn(arguments.batch_size, 3, arguments.image_size, arguments.image_size)
    labels = torch.randint(0, 1000, (arguments.batch_size,))
    if arguments.layout == "channels_last":
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    step = step_function(arguments, model, images, labels)
    for _ in range(arguments.warmup):
        step()
    milliseconds = []
    for _ in range(arguments.steps):
        start = time.perf_counter()
        step()
        milliseconds.append((time.perf_counter() - start) * 1e3)
    print(
        json.dumps(
            {
                "samples_per_second": arguments.batch_size / statistics.median(milliseconds) * 1e3,
                "step_ms": milliseconds,
                "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "torch": torch.__version__,
            }
        )
    )


main()
