"""Masked inputs: of what the model reads, a share of its own answer is another token; what it is to say stays.

Masked Thought Fine-Tuning, Chen et al. 2024 (arXiv 2403.02178). A mask is drawn from the run's seed and the position of
the row in the run's order alone, which say epoch, step and example: a run that resumes draws what it would have drawn.
Rows that are masked differently part where their inputs do, so a batch that shares prefixes shares no masked one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from selftaught.core.errors import RoundFailed
from selftaught.training.loops.batches import Row, Tokens
from selftaught.training.rendering import Chat
from selftaught.training.schedule import rate
from selftaught.training.sft import MaskInputs
from selftaught.training.suitable import ASKED

SPARE = ("mask", "reserved", "unused")
"""What tokens are called that a vocabulary has for what is not in it yet."""


@dataclass(frozen=True, slots=True)
class Masking:
    """The view of a run of `steps` steps of `step_size` rows each, in which `token` takes the place of others.

    `kept` are tokens that are never masked: those that say where a turn begins and ends.
    """

    config: MaskInputs
    token: int
    kept: frozenset[int]
    seed: int
    steps: int
    step_size: int

    def __call__(self, row: Row, at: int) -> Row:
        """`row` as it is seen at position `at`."""
        random, share = Random(f"mask/{self.seed}/{at}"), self.share(at // self.step_size)
        if not share:
            return row
        return replace(row, sequences=tuple(self._masked(tokens, random, share) for tokens in row.sequences))

    def share(self, step: int) -> float:
        """The share of the tokens that are masked in step `step`, counted from 0."""
        return self.config.share * rate("constant_with_warmup", step, self.steps, self.config.warmup)

    def _masked(self, tokens: Tokens, random: Random, share: float) -> Tokens:
        given = list(tokens.ids)
        for at in self._open(tokens):
            if random.random() < share:
                given[at] = self.token
        return replace(tokens, inputs=tuple(given))

    def _open(self, tokens: Tokens) -> Iterator[int]:
        """Where tokens stand that may be masked."""
        found = range(len(tokens.ids)) if self.config.over == "all" else tokens.counted()
        return (at for at in found if tokens.ids[at] not in self.kept)


def masking(config: MaskInputs, chat: Chat, seed: int, steps: int, step_size: int) -> Masking:
    """The view that masks as `config` says. Raises RoundFailed where the vocabulary has no token to do it with."""
    special = special_tokens(chat.tokenizer)
    return Masking(config, mask_token(config, chat), frozenset(special.values()), seed, steps, step_size)


def mask_token(config: MaskInputs, chat: Chat) -> int:
    """The token that `config` names, or else the tokenizer's own for masking, or the first that is named as a spare
    one, or the first that has no meaning yet: none that begins, ends, fills or is written by the chat template.
    """
    spare = {name: id for name, id in special_tokens(chat.tokenizer).items() if id not in _meaningful(chat)}
    if config.token is None and spare:
        return spare[min(spare, key=lambda name: not any(word in name for word in SPARE))]
    if config.token in spare:
        return spare[config.token]
    wanted = "special token" if config.token is None else f"special token '{config.token}'"
    raise RoundFailed(
        f"sft: mask_inputs: the model's tokenizer has no {wanted} that is free to mask with; those that are: "
        f"{', '.join(spare) or 'none'}. Name one of them with mask_inputs.token, take a model whose vocabulary has "
        "reserved tokens, or leave mask_inputs out."
    )


def special_tokens(tokenizer: Any) -> dict[str, int]:
    """The special tokens of a vocabulary by name, in its order."""
    return {str(token): id for id, token in sorted(tokenizer.added_tokens_decoder.items()) if token.special}


def _meaningful(chat: Chat) -> set[int]:
    """The tokens that conversations have."""
    tokenizer = chat.tokenizer
    template = tokenizer.get_chat_template()
    written = {id for name, id in special_tokens(tokenizer).items() if name in template}
    own = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id}
    return own | written | chat.ends | set(chat.opening(ASKED))
