"""The configurations that are compared, and the operations that a token of training costs: for both sides."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    vocab_size: int
    dropout: float = 0.0


# name: (model, sequences per step)
CONFIGS = {
    "a": (Config(n_layer=4, n_head=4, n_embd=128, block_size=64, vocab_size=65), 12),
    "b": (Config(n_layer=6, n_head=6, n_embd=384, block_size=256, vocab_size=65, dropout=0.2), 64),
    "c": (Config(n_layer=8, n_head=8, n_embd=512, block_size=256, vocab_size=50304), 16),
}


def flops_per_token(config):
    """6·P + 12·L·C·T: forward and backward (PaLM's appendix B; nanoGPT's `estimate_mfu`).

    P counts all parameters but the positions, which are only looked up: 12·L·C² in the blocks' matrices,
    (2·L + 1)·C gains, V·C in the tied head. Attention counts all T positions, though half are masked.
    """
    width, n_layer = config.n_embd, config.n_layer
    parameters = 12 * n_layer * width**2 + (2 * n_layer + 1) * width + config.vocab_size * width
    return 6 * parameters + 12 * n_layer * width * config.block_size
