"""A network's weights as one flat vector, the form in which they travel and are optimised."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from hydrahive.core.state import State

ALIGNMENT = 16
"""Floats between possible starts: 64 bytes, so that every layer's bytes come out the same in every process."""


class FlatWeights:
    """Lays all parameters of a network, and their gradients, into one vector each; the parameters become views.

    Every parameter starts at a multiple of `ALIGNMENT`; the padding between them is zero. Buffers, which acting
    depends on and no gradient changes, lie behind the parameters: a version is all that acting needs.
    """

    def __init__(self, network: nn.Module, *, with_gradients: bool = False) -> None:
        """Move the network's parameters into a flat vector on their own device.

        Args:
            network: Its parameters keep their values and become views of the vector.
            with_gradients: Whether to lay out a gradient vector as well, for learning.
        """
        parameters = dict(network.named_parameters())
        tensors: dict[str, Tensor] = parameters | dict(network.named_buffers())
        self._places: dict[str, tuple[int, torch.Size]] = {}
        size = 0
        for name, tensor in tensors.items():
            self._places[name] = (size, tensor.shape)
            size += -(-tensor.numel() // ALIGNMENT) * ALIGNMENT
        device = next(iter(parameters.values())).device
        self.vector = torch.zeros(size, device=device)
        self.gradient = torch.zeros(size if with_gradients else 0, device=device)
        for name, tensor in tensors.items():
            view = self.view(self.vector, name)
            view.copy_(tensor.data)
            tensor.data = view
        for name, parameter in parameters.items():
            parameter.requires_grad_(with_gradients)
            if with_gradients:
                parameter.grad = self.view(self.gradient, name)

    def view(self, vector: Tensor, name: str) -> Tensor:
        """The part of a vector laid out like this one that belongs to the parameter `name`, in its shape."""
        start, shape = self._places[name]
        return vector[start : start + shape.numel()].view(shape)

    def load(self, weights: np.ndarray) -> None:
        """Take over a vector that `numpy` gave, `[size]` float32."""
        if self.vector.device.type == "cpu":
            np.copyto(self.vector.numpy(), weights)
        else:
            self.vector.copy_(torch.from_numpy(weights.copy()))

    def numpy(self) -> np.ndarray:
        """A copy of the vector, `[size]` float32."""
        return self.vector.detach().cpu().numpy().copy()

    def named(self, vector: Tensor) -> State:
        """A vector laid out like this one as named arrays in the parameters' shapes."""
        on_cpu = vector.detach().cpu()
        return {name: self.view(on_cpu, name).numpy().copy() for name in self._places}

    def load_named(self, vector: Tensor, arrays: State) -> None:
        """Fill a vector laid out like this one from what `named` gave.

        Raises:
            ValueError: If an array is missing or has another shape.
        """
        for name, (_, shape) in self._places.items():
            array = arrays.get(name)
            if array is None or array.shape != tuple(shape):
                found = "nothing" if array is None else list(array.shape)
                raise ValueError(f"weights {name!r}: expected shape {list(shape)}, found {found}")
            self.view(vector, name).copy_(torch.from_numpy(array.copy()))
