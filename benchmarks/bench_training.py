"""SFT tokens/s: the `sft` block against TRL's SFTTrainer with its defaults, on the same examples in the same run.

    python benchmarks/bench_training.py [--model NAME] [--examples 48] [--repeats 2]

Both train the entire model for one epoch with the same batch size, learning rate and number of steps; both hold fp32
weights and multiply in bf16 (TRL's default). The baseline is `SFTTrainer(model=FOLDER, args=SFTConfig(...))` with
nothing set but those, `use_cpu` (bf16 asks for it on a CPU) and no checkpoints; `TRL, no checkpointing` switches its
gradient checkpointing off as well. The runs take turns, and medians are compared. What counts is the time in the
training loop, without loading and saving, over the tokens of prompts and completions; padding does not count. That all
of them learn the same is shown by the loss on examples that none has seen (ours is that of the model as it is written,
in bf16 like the one that it came from).
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from selftaught.blocks import TrainContext
from selftaught.records import Example, Message, Segment
from selftaught.state.starter import resolve
from selftaught.training.sft import SFT

BATCH = 8
LEARNING_RATE = 5e-5
PER_TASK = (1, 2)
"""Examples a problem: nothing is shared but the chat's opening, and what a first round of the demo keeps."""


def word_problems(count: int, seed: int, per_task: int = 1) -> list[Example]:
    """`per_task` answers to each problem: prompts of some 60 tokens, completions of some 10 to 70."""
    draw = random.Random(seed)
    return [one for _ in range(count // per_task) for one in _answered(draw, per_task)]


def _answered(draw: random.Random, answers: int) -> list[Example]:
    name, thing = draw.choice(["Maria", "Tom", "Aisha", "Jun"]), draw.choice(["apples", "marbles", "books", "stamps"])
    a, b = draw.randint(2, 99), draw.randint(2, 99)
    question = f"{name} has {a} {thing} and buys {b} more. How many {thing} does {name} have now?"
    steps = [
        f"{name} starts with {a} {thing}.",
        f"Then {name} buys {b} more {thing} at the shop around the corner.",
        f"We add the two numbers: {a} + {b} = {a + b}.",
        f"So the answer is {a + b}.",
    ]
    return [_example(question, " ".join(steps[start:])) for start in draw.sample(range(4), answers)]


def _example(question: str, said: str) -> Example:
    prompt = Segment.context((Message(role="user", content=question),))
    return Example(sequences=((prompt, Segment.answer(said)),), task=question, rollout="")


def ours(model: Path, examples: Sequence[Example], scratch: Path) -> tuple[float, float]:
    """Seconds in training and the held-out loss after it, with the block's defaults."""
    import torch
    from transformers import AutoModelForCausalLM

    context = TrainContext(scratch / "run", 0, lambda done, total, /, **values: None)
    block = SFT(epochs=1, batch_size=BATCH, learning_rate=LEARNING_RATE)
    result = block.train(model, examples, scratch / "out", context)
    return result.seconds, held_out_loss(
        AutoModelForCausalLM.from_pretrained(scratch / "out", dtype=torch.float32), model
    )


def trl_defaults(model: Path, examples: Sequence[Example], scratch: Path) -> tuple[float, float]:
    """The same with TRL's SFTTrainer as it comes."""
    return _trl(model, examples, scratch)


def trl_no_checkpointing(model: Path, examples: Sequence[Example], scratch: Path) -> tuple[float, float]:
    """The same with gradient checkpointing off."""
    return _trl(model, examples, scratch, gradient_checkpointing=False)


def _trl(model: Path, examples: Sequence[Example], scratch: Path, **changed: bool) -> tuple[float, float]:
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    arguments = SFTConfig(
        output_dir=str(scratch / "trl"),
        num_train_epochs=1,
        per_device_train_batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **changed,
    )
    rows = [
        {"prompt": [m.to_row() for m in e.prompt], "completion": [m.to_row() for m in e.completion]} for e in examples
    ]
    trainer = SFTTrainer(model=str(model), args=arguments, train_dataset=Dataset.from_list(rows))
    trainer.remove_callback(PrinterCallback)
    began = time.perf_counter()
    trainer.train()
    return time.perf_counter() - began, held_out_loss(trainer.model, model)


def held_out_loss(trained: Any, model: Path) -> float:
    """Mean negative log-likelihood of `trained` over the completion tokens of sixteen examples that were held out."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    trained.eval()
    losses: list[float] = []
    for one in word_problems(16, seed=1):
        prompt, completion = ([message.to_row() for message in part] for part in (one.prompt, one.completion))
        start = len(tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False))
        ids = tokenizer.apply_chat_template(prompt + completion, return_dict=False)
        with torch.no_grad():
            logprobs = trained(torch.tensor([ids])).logits[0].float().log_softmax(-1)
        losses += [-logprobs[at - 1, ids[at]].item() for at in range(start, len(ids))]
    return statistics.mean(losses)


def real_tokens(model: Path, examples: Sequence[Example]) -> int:
    """Tokens of all prompts and completions in the model's chat template, padding not counted."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    chats = [[message.to_row() for message in (*e.prompt, *e.completion)] for e in examples]
    return sum(len(tokenizer.apply_chat_template(chat, return_dict=False)) for chat in chats)


RUNS: dict[str, Callable[[Path, Sequence[Example], Path], tuple[float, float]]] = {
    "TRL defaults": trl_defaults,
    "TRL, no checkpointing": trl_no_checkpointing,
    "selftaught sft": ours,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--examples", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=2)
    asked = parser.parse_args()
    model = resolve(asked.model, Path(os.environ.get("SELFTAUGHT_HOME", ".selftaught")) / "models")
    for per_task in PER_TASK:
        compare(model, word_problems(asked.examples, 0, per_task), asked.repeats, f"{per_task} examples a problem")


def compare(model: Path, examples: Sequence[Example], repeats: int, title: str) -> None:
    """Let the runs take turns and print their medians."""
    seconds: dict[str, list[float]] = {name: [] for name in RUNS}
    losses: dict[str, float] = {}
    for _ in range(repeats):
        for name, run in RUNS.items():
            with tempfile.TemporaryDirectory() as scratch:
                took, losses[name] = run(model, examples, Path(scratch))
            seconds[name].append(took)
    _print(seconds, losses, real_tokens(model, examples), title)


def _print(seconds: dict[str, list[float]], losses: dict[str, float], tokens: int, title: str) -> None:
    medians = {name: statistics.median(took) for name, took in seconds.items()}
    print(f"\n{title}: {tokens} tokens in {len(next(iter(seconds.values())))} repeats each")
    print(f"{'':24}{'tokens/s':>10}{'median s':>10}{'all s':>24}{'held-out':>10}")
    for name, took in seconds.items():
        every = " ".join(f"{one:.1f}" for one in took)
        print(f"{name:24}{tokens / medians[name]:10.0f}{medians[name]:10.1f}{every:>24}{losses[name]:10.3f}")
    for name in ("TRL defaults", "TRL, no checkpointing"):
        print(f"ratio to {name}: {medians[name] / medians['selftaught sft']:.2f}")


if __name__ == "__main__":
    main()
