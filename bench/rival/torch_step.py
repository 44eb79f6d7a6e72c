"""Float training steps in PyTorch on the CPU, channels-last, eager or compiled: a rival of `npm run bench -- --rivals`."""

import torch
import torch.nn as nn
import torch.nn.functional as F

from protocol import milliseconds, serve


class Pad(nn.Module):
    """Padding that is not the same on both sides, as TensorFlow's SAME may be."""

    def __init__(self, padding):
        super().__init__()
        top, bottom, left, right = padding
        self.padding = (left, right, top, bottom)

    def forward(self, x):
        return F.pad(x, self.padding)


class Mean(nn.Module):
    """Global average pool."""

    def forward(self, x):
        return x.mean((2, 3))


def convolution(layer, channels):
    """One convolution. PyTorch pads both sides alike; where that gives the same output size the layer itself pads."""
    top, bottom, left, right = layer["padding"]
    (height, width), strides = layer["inputSize"], layer["strides"]
    sizes = [(height, bottom, top + bottom, strides[0]), (width, right, left + right, strides[1])]
    own = all((size + 2 * after - k) // s == (size + total - k) // s for (size, after, total, s), k in zip(sizes, layer["kernel"]))
    depthwise = layer["op"] == "depthwise"
    made = nn.Conv2d(
        channels,
        channels if depthwise else layer["filters"],
        layer["kernel"],
        strides,
        padding=(bottom, right) if own else 0,
        groups=channels if depthwise else 1,
        bias=False,
    )
    return [made] if own else [Pad(layer["padding"]), made]


def build(layers, channels):
    """The network as PyTorch modules."""
    modules = []
    for layer in layers:
        op = layer["op"]
        if op in ("conv", "depthwise"):
            modules += convolution(layer, channels)
            channels = layer.get("filters", channels)
        elif op == "batchNorm":
            modules.append(nn.BatchNorm2d(channels))
        elif op == "relu":
            modules.append(nn.ReLU())
        elif op == "relu6":
            modules.append(nn.ReLU6())
        elif op == "globalAveragePool":
            modules.append(Mean())
        elif op == "dense":
            modules.append(nn.Linear(channels, layer["units"]))
            channels = layer["units"]
        else:
            raise ValueError(f"no layer {op}")
    return nn.Sequential(*modules)


state = {}


def prepare(request):
    """Makes network, batch and optimizer and runs the first steps; the first of a compiled network compiles it."""
    torch.set_num_threads(request["threads"])
    torch.manual_seed(0)
    height, width, channels = request["inputShape"]
    model = build(request["layers"], channels).to(memory_format=torch.channels_last)
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    loss_of = nn.CrossEntropyLoss()
    x = torch.randn(request["batch"], channels, height, width).to(memory_format=torch.channels_last)
    y = torch.arange(request["batch"]) % request["classes"]
    run_model = torch.compile(model) if request["compiled"] else model

    def step():
        optimizer.zero_grad()
        loss_of(run_model(x), y).backward()
        optimizer.step()

    for _ in range(3):
        step()
    state["step"] = step
    return {"version": torch.__version__, "trainable": trainable}


serve({"prepare": prepare, "run": lambda request: milliseconds(state["step"])})
