"""A GRU as a stream takes it: a step at a time, of some bodies and not of others."""

import torch
from torch import Tensor, nn


class HeldGru(nn.Module):
    """Steps of an `nn.GRU` of one layer, one at a time, for bodies of which only some take one.

    Few nodes, all elementary. Of the update gate all weights are negated: it then says how much is taken, and of whom
    nothing is due, what is remembered stays to the last bit.
    """

    of_input: Tensor
    """(hidden, 3 * hidden): reset gate, update gate, candidate."""
    of_memory: Tensor
    """(hidden, 2 * hidden): both gates."""
    recalled: Tensor
    """(hidden, hidden), what the reset gate lets into the candidate."""
    bias: Tensor
    recalled_bias: Tensor

    def __init__(self, gru: nn.GRU) -> None:
        super().__init__()
        self.parts = [2 * gru.hidden_size, gru.hidden_size]
        with torch.no_grad():
            of_input, of_memory, input_bias, memory_bias = (_less_update(weight) for weight in gru.all_weights[0])
            gates, recalled = torch.split(of_memory, self.parts)
            gates_bias, recalled_bias = torch.split(memory_bias, self.parts)
            self.register_buffer("of_input", of_input.T.contiguous())
            self.register_buffer("of_memory", gates.T.contiguous())
            self.register_buffer("recalled", recalled.T.contiguous())
            self.register_buffer("bias", input_bias + torch.cat([gates_bias, torch.zeros_like(recalled_bias)]))
            self.register_buffer("recalled_bias", recalled_bias.clone())

    def read(self, inputs: Tensor) -> Tensor:
        """(N, 3 * hidden), what a step takes of inputs (N, hidden)."""
        return torch.addmm(self.bias, inputs, self.of_input)

    def forward(self, read: Tensor, memory: Tensor, due: Tensor) -> Tensor:
        """(N, hidden) after this frame; due: (N, 1), one where a step is taken, else zero."""
        gates, new = torch.split(read, self.parts, 1)
        reset, taken = torch.sigmoid(torch.addmm(gates, memory, self.of_memory)).chunk(2, 1)
        recalled = torch.addmm(self.recalled_bias, memory, self.recalled)
        return memory + due * taken * (torch.tanh(new + reset * recalled) - memory)


def _less_update(weight: Tensor) -> Tensor:
    """Weights of an `nn.GRU` (3 * hidden, ...), those of the update gate negated."""
    reset, update, candidate = weight.chunk(3)
    return torch.cat([reset, -update, candidate])
