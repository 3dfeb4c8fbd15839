"""Process reward models that read plain text, small and random, and what their authors' code makes of a text."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any


def library(name: str) -> Any:
    """A module without types, imported when a test needs it."""
    return import_module(name)


def token_classifier(folder: Path, family: str) -> Path:
    """Two layers and a token classifier's head with a bias, as TRL's PRMTrainer saved it."""
    torch, transformers = library("torch"), library("transformers")
    model = _small(transformers, family, "ForTokenClassification", num_labels=2)
    with torch.no_grad():
        model.score.weight.mul_(0.2)  # or it would be sure of everything
        model.score.bias.copy_(torch.tensor([0.4, -0.4]))
    return _with_pieces(model, folder)


def shepherd(folder: Path) -> Path:
    """A causal Mistral of two layers, to which every token is about as likely as another."""
    torch, transformers = library("torch"), library("transformers")
    model = _small(transformers, "Mistral", "ForCausalLM")
    with torch.no_grad():
        model.lm_head.weight.mul_(0.2)
    return _with_pieces(model, folder)


def _small(transformers: Any, family: str, kind: str, **more: Any) -> Any:
    torch = library("torch")
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        **more,
    )
    return getattr(transformers, f"{family}{kind}")(config)


def _with_pieces(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    pieces().save_pretrained(folder)
    return folder


def pieces() -> Any:
    """A tokenizer like Mistral's: SentencePiece's spaces, bytes for what it does not know, `<s>` before every text.

    `ки`, `+` and `-` are a token each behind a space, as in Mistral's, and a line's end is one alone.
    """
    tokenizers, transformers = library("tokenizers"), library("transformers")
    decoders, normalizers = tokenizers.decoders, tokenizers.normalizers
    merges = [("к", "и"), ("▁", "ки"), ("▁", "+"), ("▁", "-"), ("▁", "a"), ("▁", "b")]
    letters = ["▁", "к", "и", *map(chr, range(33, 127)), *(left + right for left, right in merges)]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            vocab={token: i for i, token in enumerate(tokens)}, merges=merges, unk_token="<unk>", byte_fallback=True
        )
    )
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def classes_after(folder: Path, question: str, steps: Sequence[str], separator: str) -> list[float]:
    """The probability of each class at the last separator, tokenized as TRL's PRMTrainer did (`tokenize_row`)."""
    torch, transformers = library("torch"), library("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32).eval()
    ids = [tokenizer.bos_token_id, *tokenizer(question, add_special_tokens=False).input_ids]
    for step in steps:
        ids += tokenizer(step, add_special_tokens=False).input_ids
        ids += tokenizer.encode(separator, add_special_tokens=False)
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0, -1].softmax(-1).tolist()


def classes_of_text(folder: Path, text: str) -> list[list[float]]:
    """Tokens x classes: the probabilities at each token of `text`, by transformers' own class."""
    torch, transformers = library("torch"), library("transformers")
    model = transformers.AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return (
            model(torch.tensor([transformers.AutoTokenizer.from_pretrained(folder)(text).input_ids]))
            .logits[0]
            .softmax(-1)
            .tolist()
        )


def shepherd_scores(folder: Path, question: str, output: str) -> list[float]:
    """The score of each step of `output`, as the card of peiyi9979/math-shepherd-mistral-7b-prm computes it."""
    torch, transformers = library("torch"), library("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    candidates, tag = tokenizer.encode("+ -")[1:], tokenizer.encode("ки")[-1]
    ids = torch.tensor([tokenizer.encode(f"{question} {output}")])
    with torch.no_grad():
        scores = model(ids).logits[:, :, candidates].softmax(dim=-1)[:, :, 0]
    return scores[ids == tag].tolist()
