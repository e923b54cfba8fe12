"""Runs a PyTorch model on synthetic weights and records what it computes; README.md describes the file.

The reference run is in double precision, so that the fixture holds the true values and not PyTorch's rounding; a second
run in single precision measures that rounding, against which a tolerance can be argued.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

STEPS = 3
FULL_UP_TO = 64
SAMPLES = 8
# Adam moves a weight by the sign of its gradient. Where the gradient is below this share of the tensor's root mean
# square, rounding has a say in the move.
NOISE = 1e-2
# Below this share there is no gradient at all but for rounding: what a weight shifts, a later batch norm takes out.
NOTHING = 1e-9

# How close a value may come to where a ReLU bends, in standard deviations of its tensor. Rounding must not decide on
# which side it falls: one such value shows in the third digit of the gradients of a deep network.
MARGIN = 5e-6

OPTIMIZERS = {
    "adam": (torch.optim.Adam, {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8}),
    "adamw": (torch.optim.AdamW, {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1}),
    "sgd": (torch.optim.SGD, {"lr": 1e-3, "momentum": 0.9, "weight_decay": 0.1}),
}


def fnv1a64(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def splitmix64(seed: int, count: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def synthetic(name: str, shape, offset: float, scale: float) -> torch.Tensor:
    """The tensor that `regraft_models::synthetic::tensor` gives, to the last bit."""
    z = splitmix64(fnv1a64(name.encode()), math.prod(shape))
    u = (z >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1.0
    return torch.from_numpy((offset + scale * u).astype(np.float32)).reshape(shape)


def shifted(name: str, shape) -> torch.Tensor:
    """Between 1 and 2 on either side of zero."""
    value = synthetic(name, shape, 0.0, 1.0)
    return value + value.sign()


def fill(model: torch.nn.Module) -> None:
    """Synthetic weights; the rules are those of `regraft_models::synthetic`."""
    norms = any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    relu6 = any(isinstance(module, torch.nn.ReLU6) for module in model.modules())
    for path, module in model.named_modules():
        norm = isinstance(module, torch.nn.BatchNorm2d)
        for role, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if role == "num_batches_tracked":
                continue
            name, shape = f"{path}.{role}", tensor.shape
            match norm, role:
                case False, "weight":
                    value = synthetic(name, shape, 0.0, math.sqrt(6.0 / math.prod(shape[1:])))
                case False, "bias":
                    value = synthetic(name, shape, 0.0, 0.1) if norms else shifted(name, shape)
                case True, "weight":
                    value = synthetic(name, shape, 1.0, 0.25) if relu6 else synthetic(name, shape, 0.5, 0.125)
                case True, "bias":
                    value = synthetic(name, shape, 3.0, 0.5) if relu6 else shifted(name, shape)
                case True, "running_mean":
                    value = synthetic(name, shape, 0.0, 0.1)
                case True, "running_var":
                    value = synthetic(name, shape, 20.0, 10.0) if relu6 else synthetic(name, shape, 1.0, 0.5)
            with torch.no_grad():
                tensor.copy_(value)


def checksum(tensor: torch.Tensor) -> int:
    """Sum of bits[i] * (2 i + 1) modulo 2^64 over the bit patterns of the elements in single precision."""
    bits = tensor.float().numpy().reshape(-1).view(np.uint32).astype(np.uint64)
    odd = np.arange(len(bits), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    return int((bits * odd).sum(dtype=np.uint64).view(np.int64))


def positions(name: str, length: int) -> list[int]:
    if length <= FULL_UP_TO:
        return list(range(length))
    return sorted({int(z % length) for z in splitmix64(fnv1a64(f"{name}.samples".encode()), SAMPLES).tolist()})


def run(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, dtype: torch.dtype) -> dict:
    """Everything that is compared, as whole tensors in double precision."""
    images = images.to(dtype)
    cross_entropy = torch.nn.functional.cross_entropy

    def fresh() -> torch.nn.Module:
        fill(model.float())
        return model.to(dtype)

    found = {}
    with torch.no_grad():
        found["eval_logits"] = fresh().eval()(images).double()
    logits = fresh().train()(images)
    loss = cross_entropy(logits, labels)
    model.zero_grad()
    loss.backward()
    found["train_logits"] = logits.detach().double()
    found["loss"] = loss.detach().double().reshape(1)
    found["gradient"] = {n: p.grad.double().clone() for n, p in model.named_parameters()}
    found["running"] = {n: b.double().clone() for n, b in statistics(model)}
    for name, (optimizer_class, options) in OPTIMIZERS.items():
        fresh().train()
        before = {n: p.detach().double().clone() for n, p in model.named_parameters()}
        smallest = {n: torch.full_like(p, math.inf) for n, p in before.items()}
        optimizer = optimizer_class(model.parameters(), **options)
        losses = []
        for _ in range(STEPS):
            loss = cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            losses.append(loss.item())
            for n, p in model.named_parameters():
                share = p.grad.double().abs() / p.grad.double().square().mean().sqrt()
                # Behind a ReLU that is off, zero is exact and safe.
                smallest[n] = torch.minimum(smallest[n], share.masked_fill(share == 0, math.inf))
            optimizer.step()
        found[f"{name}.losses"] = torch.tensor(losses, dtype=torch.float64)
        found[name] = {n: p.detach().double() - before[n] for n, p in model.named_parameters()}
        found[f"{name}.smallest"] = smallest
    return found


def margin(model: torch.nn.Module, images: torch.Tensor) -> float:
    """Distance of the closest value to a bend, in training, in standard deviations of its tensor."""
    closest = math.inf

    def look(module: torch.nn.Module, inputs: tuple) -> None:
        nonlocal closest
        x = inputs[0].detach()
        distance = x.abs()
        if isinstance(module, torch.nn.ReLU6):
            distance = torch.minimum(distance, (x - 6).abs())
        closest = min(closest, float(distance.min() / x.std()))

    activations = [m for m in model.modules() if isinstance(m, (torch.nn.ReLU, torch.nn.ReLU6))]
    handles = [m.register_forward_pre_hook(look) for m in activations]
    fill(model.float())
    with torch.no_grad():
        model.double().train()(images.double())
    for handle in handles:
        handle.remove()
    return closest


def statistics(model: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [(n, b) for n, b in model.named_buffers() if not n.endswith("num_batches_tracked")]


class Compared:
    """Norms and samples of the tensors of one kind; NaN where rounding decides."""

    def __init__(self, found: dict, kind: str, indices: dict[str, list[int]], silent: set[str]):
        norms, samples, lengths, counts = [], [], [], []
        for name, tensor in found[kind].items():
            norm, picked = tensor.norm(), tensor.reshape(-1)[indices[name]].clone()
            if name in silent:
                unknown = 0.0 if kind == "gradient" else math.nan
                norm, picked = norm * unknown, picked * unknown
            elif kind.startswith("adam"):
                smallest = found[f"{kind}.smallest"][name]
                picked[smallest.reshape(-1)[indices[name]] < NOISE] = math.nan
                norm = norm * math.nan if bool((smallest < NOTHING).any()) else norm
            norms.append(norm)
            samples.append(picked)
            lengths.append(tensor.numel())
            counts.append(len(picked))
        self.norms, self.samples = torch.stack(norms), torch.cat(samples)
        lengths = torch.tensor(lengths, dtype=torch.float64)
        known = ~self.norms.isnan()
        whole = (self.norms[known].square().sum() / lengths[known].sum()).sqrt()
        rms = torch.where(self.norms > 0, self.norms / lengths.sqrt(), whole)
        self.norm_scale = rms * lengths.sqrt()
        self.sample_scale = rms.repeat_interleave(torch.tensor(counts))

    def errors(self, got: "Compared", rounding: torch.Tensor | float) -> tuple[float, float]:
        norms = (got.norms - self.norms).abs() / self.norm_scale
        samples = ((got.samples - self.samples).abs() - rounding).clamp(min=0.0) / self.sample_scale
        return float(norms.nan_to_num(0.0).max()), float(samples.nan_to_num(0.0).max())


def without_gradient(gradient: dict[str, torch.Tensor]) -> set[str]:
    mean_square = {n: float(g.square().mean()) for n, g in gradient.items()}
    largest = max(mean_square.values())
    return {n for n, value in mean_square.items() if value < NOTHING**2 * largest}


def sort_metadata(path: Path) -> None:
    """Makes the same run write the same bytes: safetensors leaves the order of the metadata to chance."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])


def record(script: Path, reference: str, model: torch.nn.Module, size: int, batch: int, num_classes: int) -> None:
    """Writes `fixture.safetensors` beside the script and prints PyTorch's own errors in single precision."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, torch.nn.Dropout):
                setattr(module, name, torch.nn.Identity())
    images = synthetic("image", (batch, 3, size, size), 0.0, 2.0)
    labels = torch.arange(batch) % num_classes
    closest = margin(model, images)
    assert closest > MARGIN, f"a value comes within {closest:.1e} of a bend: try another image size or batch"
    true = run(model, images, labels, torch.float64)
    single = run(model, images, labels, torch.float32)

    fill(model.float())
    initial = {
        "parameters": {n: p.detach() for n, p in model.named_parameters()},
        "buffers": dict(statistics(model)),
    }
    out = {"images.checksum": torch.tensor([checksum(images)])}
    indices = {}
    for group, tensors in initial.items():
        picked = {n: positions(n, t.numel()) for n, t in tensors.items()}
        indices |= picked
        integers = {
            "checksums": [checksum(t) for t in tensors.values()],
            "offsets": np.cumsum([0] + [len(p) for p in picked.values()]).tolist(),
            "indices": [i for p in picked.values() for i in p],
        }
        out |= {f"{group}.{name}": torch.tensor(values, dtype=torch.int64) for name, values in integers.items()}

    errors = {}
    for key in ["eval_logits", "train_logits", "loss", *(f"{o}.losses" for o in OPTIMIZERS)]:
        out[key] = true[key]
        errors[key] = float((single[key] - true[key]).abs().max() / true[key].square().mean().sqrt())
    silent = without_gradient(true["gradient"])
    weights = torch.cat([t.reshape(-1)[indices[n]] for n, t in initial["parameters"].items()]).double()
    for kind in ["gradient", *(["running"] if initial["buffers"] else []), *OPTIMIZERS]:
        expected = Compared(true, kind, indices, silent)
        # A step rounds a weight twice, after the decay and after the move.
        rounding = STEPS * 2 * 2.0**-24 * weights.abs() if kind in OPTIMIZERS else 0.0
        out[f"{kind}.norms"], out[f"{kind}.samples"] = expected.norms, expected.samples
        got = Compared(single, kind, indices, set())
        errors[f"{kind}.norms"], errors[f"{kind}.samples"] = expected.errors(got, rounding)

    metadata = {
        "reference": reference,
        "torch": torch.__version__.split("+")[0],
        "image_shape": json.dumps([batch, 3, size, size]),
        "num_classes": str(num_classes),
        "steps": str(STEPS),
        "optimizers": json.dumps({name: options for name, (_, options) in OPTIMIZERS.items()}),
        "parameters": json.dumps(list(initial["parameters"])),
        "buffers": json.dumps(list(initial["buffers"])),
        "torch_f32_errors": json.dumps({k: float(f"{v:.2g}") for k, v in errors.items()}),
    }
    out = {k: (v.float() if v.is_floating_point() else v).contiguous() for k, v in out.items()}
    target = script.parent / "fixture.safetensors"
    save_file(out, target, metadata)
    sort_metadata(target)
    unknown = {k: int(v.isnan().sum()) for k, v in out.items() if v.isnan().any()}
    print(f"{reference}: {target.stat().st_size / 1024:.0f} KiB, {len(silent)} tensors without gradient, NaN {unknown}")
    print(f"  margin           {closest:.1e}")
    for key in sorted(errors):
        print(f"  {key:16} {errors[key]:.1e}")
    print("  eval", [round(float(v), 2) for v in true["eval_logits"][0]])
    print("  losses", {o: [round(float(v), 3) for v in true[f"{o}.losses"]] for o in OPTIMIZERS})
