"""Writes tests/hf/gpt2, tests/hf/llama and tests/hf/expected.safetensors: models of `transformers`
with random weights, as it saves them, and what it computes with them.

    pip install torch==2.15.0 transformers==5.23.0 tokenizers==0.23.3 numpy safetensors
    python tests/hf/make.py

gpt2 lies as the first release of GPT-2 does: names without a prefix, masks beside the weights,
vocab.json and merges.txt, four rows of the embedding without a token. llama is in bfloat16, in shards
that an index names, with shared keys and values and a head of its own. Epsilons are large, so that one
that is not taken over shows.
"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).parent
SEED = 20260211
TEXT = "The wind's tunnel, naïve: 42 — 東京 🙂\n\tthe wind in the tunnel."
N_POS = 32


def tokenizer():
    """Byte-level BPE with 20 merges."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=276, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([TEXT] * 4, trainer)
    return bpe


def randomise(model, generator):
    """Far from the usual start: no gain is 1, no bias 0."""
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.3 * noise if parameter.ndim >= 2 else 0.7 + 0.3 * noise)


def logits(folder, ids):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        return model.eval()(input_ids=ids, use_cache=False).logits[0].contiguous()


def gpt2(folder, bpe, generator):
    config = GPT2Config(
        n_layer=2, n_head=2, n_embd=16, n_inner=40, n_positions=N_POS, vocab_size=280, layer_norm_epsilon=0.02,
        activation_function="gelu_new", bos_token_id=None, eos_token_id=275,
    )
    model = GPT2LMHeadModel(config)
    randomise(model, generator)
    model.save_pretrained(folder)
    saved = load_file(folder / "model.safetensors")
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in saved.items()}
    for layer in range(config.n_layer):
        mask = torch.ones(N_POS, N_POS).tril().view(1, 1, N_POS, N_POS)
        tensors[f"h.{layer}.attn.bias"] = mask.to(torch.uint8)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    bpe.model.save(str(folder))


def llama(folder, bpe, generator):
    config = LlamaConfig(
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, hidden_size=24, intermediate_size=40,
        max_position_embeddings=N_POS, vocab_size=276, rms_norm_eps=0.02, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0}, bos_token_id=None, eos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    randomise(model, generator)
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="15KB")
    PreTrainedTokenizerFast(tokenizer_object=bpe).save_pretrained(folder)


def main():
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(SEED)
    bpe = tokenizer()
    ids = torch.tensor([bpe.encode(TEXT).ids[:N_POS]])
    assert ids.shape[1] == N_POS, ids.shape
    expected = {"ids": ids[0]}
    for make in (gpt2, llama):
        folder = HERE / make.__name__
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        make(folder, bpe, generator)
        expected[make.__name__] = logits(folder, ids)
        (folder / "generation_config.json").unlink(missing_ok=True)
    (HERE / "expected.safetensors").write_bytes(save(expected, metadata={"text": json.dumps(TEXT)}))


if __name__ == "__main__":
    main()
