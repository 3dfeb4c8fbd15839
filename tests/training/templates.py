"""Chat templates that treat an assistant's turn as published models' do, and a tokenizer to try them on."""

from typing import Any

from selftaught.training.rendering import Chat

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CUTS = (  # DeepSeek-R1-Distill
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content.split('</think>')[-1] if m.role == 'assistant' else m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
NO_END = (
    "{% for m in messages %}{{ 'User' if m.role == 'user' else 'Assistant' }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant: {% endif %}"
)
TRIMS = (  # Llama 3
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n\n{{ m.content | trim }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}"
)
EMPTY_THINK = (  # Qwen3
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TWO_BOS = "{{ bos_token }}" + CHATML

TEMPLATES = {
    "chatml": CHATML,
    "cuts": CUTS,
    "no end": NO_END,
    "trims": TRIMS,
    "empty think": EMPTY_THINK,
    "two bos": TWO_BOS,
}


def tokenizer_with(template: str | None, eos: str | None = "<|im_end|>") -> Any:
    """A byte-level BPE tokenizer with a few merges, which puts a BOS before every text that it is given."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<|bos|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"]
    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False, min_frequency=1
    )
    plain.train_from_iterator(["3 and 4 make 7.\n</think>\n\nThe answer is 7. <think>\n" * 3], trainer)
    plain.post_processor = processors.TemplateProcessing(single="<|bos|> $A", special_tokens=[("<|bos|>", 0)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token="<|bos|>", eos_token=eos, pad_token="<|endoftext|>"
    )
    made.chat_template = template
    return made


def chat_with(template: str) -> Chat:
    """A chat that ends at <|im_end|> or <|endoftext|>, as engines stop at both."""
    made = tokenizer_with(template)
    end, other = made.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    return Chat(made, frozenset({end, other}), end)
