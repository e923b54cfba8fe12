# /// script
# requires-python = ">=3.10"
# dependencies = ["torch==2.15.0", "torchvision==0.29.2", "safetensors", "numpy", "pillow"]
# ///
"""PyTorch's side of the end-to-end comparison: feature extraction as the usual tutorial does it.

Every epoch decodes, resizes and runs the whole backbone; only the new head learns. Prints one JSON line: `seconds` from
the first import to the last accuracy, and the best validation accuracy.
"""

import time

start = time.perf_counter()

import argparse
import json

import torch
import torchvision
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


def new_head(model, classes):
    if hasattr(model, "fc"):
        model.fc = nn.Linear(model.fc.in_features, classes)
        return model.fc
    if isinstance(model.classifier[-1], nn.Linear):
        model.classifier[-1] = nn.Linear(model.classifier[-1].in_features, classes)
        return model.classifier[-1]
    model.classifier[1] = nn.Conv2d(model.classifier[1].in_channels, classes, 1)
    return model.classifier[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--model", default="squeezenet1_1")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    transform = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    folders = [datasets.ImageFolder(f"{arguments.data}/{split}", transform) for split in ("train", "val")]
    train = DataLoader(folders[0], batch_size=arguments.batch_size, shuffle=True)
    validation = DataLoader(folders[1], batch_size=arguments.batch_size)

    model = getattr(torchvision.models, arguments.model)(weights=None)
    report = model.load_state_dict(load_file(arguments.weights), strict=False)
    assert not report.unexpected_keys, report
    for parameter in model.parameters():
        parameter.requires_grad = False
    head = new_head(model, len(folders[0].classes))
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()

    best = 0.0
    for _ in range(arguments.epochs):
        model.train()
        for images, labels in train:
            optimizer.zero_grad()
            criterion(model(images), labels).backward()
            optimizer.step()
        model.eval()
        correct = 0
        with torch.no_grad():
            for images, labels in validation:
                correct += (model(images).argmax(1) == labels).sum().item()
        best = max(best, correct / len(folders[1]))
    print(
        json.dumps(
            {"seconds": time.perf_counter() - start, "best_accuracy": best, "torch": torch.__version__}
        )
    )


main()
