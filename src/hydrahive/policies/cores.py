"""Memory between steps: recurrent layers whose state is one array."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from hydrahive.core.machine import gains_by_bfloat16

LAYERS: dict[str, type[nn.RNN] | type[nn.GRU] | type[nn.LSTM]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class RecurrentCore(nn.Module):
    """RNN (tanh), GRU or LSTM layers; their states lie side by side in one memory `[N, memory_size]`.

    Zeros are the memory of an episode's first step.
    """

    def __init__(
        self,
        kind: Literal["rnn", "gru", "lstm"],
        in_features: int,
        hidden: int,
        layers: int,
        generator: torch.Generator,
    ) -> None:
        """Lay out the layers; orthogonal weights for each gate, zero biases, and 1 for an LSTM's forget gates."""
        super().__init__()
        self._layers, self._hidden = layers, hidden
        self._parts = 2 if kind == "lstm" else 1
        self.layers = LAYERS[kind](in_features, hidden, layers)
        self.memory_size = self._parts * layers * hidden
        self.out_features = hidden
        for name, parameter in self.layers.named_parameters():
            with torch.no_grad():
                if name.startswith("weight"):
                    for gate in torch.split(parameter, hidden):
                        gate.copy_(nn.init.orthogonal_(torch.empty(gate.shape), generator=generator))
                else:
                    parameter.zero_()
                    if kind == "lstm" and name.startswith("bias_ih"):
                        parameter[hidden : 2 * hidden] = 1.0

    def forward(self, features: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Run over sequences.

        Args:
            features: `[L, N, F]`. Under autocast the layers compute in bfloat16 on a CPU with a unit for it, else in
                float32; the memory is float32 either way.
            memory: `[N, M]`, before the first step.

        Returns:
            Outputs `[L, N, H]`, and the memory `[N, M]` after the last step.
        """
        n = memory.shape[0]
        parts = memory.view(n, self._parts, self._layers, self._hidden).permute(1, 2, 0, 3).contiguous()
        state = (parts[0], parts[1]) if self._parts == 2 else parts[0]
        # Under autocast cuDNN would compute in float16, whatever was asked for, and a CPU without the unit is slow.
        with torch.autocast(features.device.type, torch.bfloat16, enabled=self._in_bfloat16(features.device.type)):
            outputs, after = self.layers(features.float(), state)
        stacked = torch.stack(after if self._parts == 2 else (after,)).float()
        return outputs.float(), stacked.permute(2, 0, 1, 3).reshape(n, self.memory_size)

    @staticmethod
    def _in_bfloat16(device: str) -> bool:
        return device == "cpu" and torch.is_autocast_enabled("cpu") and gains_by_bfloat16("cpu")
