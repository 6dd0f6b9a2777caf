"""A nanoGPT-shaped decoder on PyTorch, written anew from the published configuration.

Pre-norm blocks, LayerNorm with a gain and no bias, no biases in linear layers, learned positions,
exact (erf) GELU, fused causal attention, output head tied to the token embedding. Parameter names
are nanoGPT's. This is the model that `nanogpt_cpu.py` times and that `tests/fixtures/make_gpt2.py`
takes its bias-free fixture from, so what is timed is what our model is checked against.

Shapes: B sequences, T positions, C width, H heads, V tokens.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from shapes import Config  # noqa: F401 (who makes a model names its shape through this module)


def linear(n_in, n_out):
    return nn.Linear(n_in, n_out, bias=False)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.n_head = config.n_head
        self.dropout = config.dropout
        self.c_attn = linear(config.n_embd, 3 * config.n_embd)  # query, key, value in this order
        self.c_proj = linear(config.n_embd, config.n_embd)

    def forward(self, x):
        n_seq, n_pos, width = x.shape
        qkv = self.c_attn(x).view(n_seq, n_pos, 3, self.n_head, width // self.n_head)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, T, C/H)
        p = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
        y = self.c_proj(y.transpose(1, 2).reshape(n_seq, n_pos, width))
        return F.dropout(y, self.dropout, self.training)


class Mlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.dropout = config.dropout
        self.c_fc = linear(config.n_embd, 4 * config.n_embd)
        self.c_proj = linear(4 * config.n_embd, config.n_embd)

    def forward(self, x):
        return F.dropout(self.c_proj(F.gelu(self.c_fc(x))), self.dropout, self.training)


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, bias=False)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, bias=False)
        self.mlp = Mlp(config)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Gpt(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.vocab_size, config.n_embd),
                "wpe": nn.Embedding(config.block_size, config.n_embd),
                "h": nn.ModuleList(Block(config) for _ in range(config.n_layer)),
                "ln_f": nn.LayerNorm(config.n_embd, bias=False),
            }
        )
        # GPT-2's: smaller where a residual branch ends, so the stream's variance does not grow with depth.
        residual_std = 0.02 / math.sqrt(2 * config.n_layer)
        for name, parameter in self.named_parameters():
            if parameter.ndim >= 2:
                nn.init.normal_(parameter, std=residual_std if "c_proj" in name else 0.02)

    def forward(self, tokens, targets):
        """Logits (B, T, V) and the mean cross-entropy in nats per token; both arguments are (B, T)."""
        parts = self.transformer
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = parts["wte"](tokens) + parts["wpe"](positions)
        x = F.dropout(x, self.config.dropout, self.training)
        for block in parts["h"]:
            x = block(x)
        logits = F.linear(parts["ln_f"](x), parts["wte"].weight)
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def decay_groups(model, weight_decay):
    """AdamW's two groups: matrices and embeddings decay, vectors do not."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
