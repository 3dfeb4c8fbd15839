"""Value regression: the loss is the plain mean squared error, steps are read at their last token, labels are learnt."""

import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from selftaught.core.errors import RoundFailed
from selftaught.core.pooled import auroc
from selftaught.records import Example, Regress, Segment
from selftaught.state.weights import check_model
from selftaught.training.calibration import figures
from selftaught.training.loops.batches import Row, Tokens, batch, tree
from selftaught.training.loops.readers import Values
from selftaught.training.loops.value import _split, load_value, row, run
from selftaught.training.value import ValueMSE
from tests.examples import asked, worth
from tests.training.templates import CUTS, chat_with

numbers = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def of(question, said, label, right=None):
    tokens = Segment.answer(said, tuple(said.encode()), weights=())
    return Example(
        sequences=((asked(question, token_ids=tuple(question.encode())), tokens),),
        target=Regress(label=label, right=right),
        task=question,
        rollout=f"{question}{said}",
    )


STEPS = [of(f"{task}?", said, label, label > 0.5) for task in range(12) for said, label in (("yes", 0.9), ("no", 0.1))]


def test_values_are_read_at_the_last_token_whatever_is_laid_out_beside_it(tiny_model):
    """Equal to transformers' own forward of each example by itself; its pooling agrees where nothing is padded."""
    torch.manual_seed(1)
    model = load_value(tiny_model, torch.float32).eval()
    texts = [tuple(text.encode()) for text in ("abcd", "abce", "abx", "q")]
    made = batch([Row((Tokens(ids, (0.0,) * len(ids)),)) for ids in texts], tree)
    with torch.inference_mode():
        together = Values(model)(made.inputs)
        alone = [model(torch.tensor([ids])).logits[0, 0] for ids in texts]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-4, atol=1e-5)


def test_training_learns_the_labels_and_measures_itself_on_tasks_kept_apart(tiny_model, context, tmp_path):
    config = ValueMSE(epochs=30, learning_rate=1e-3, batch_size=4, precision="fp32", held_out=0.3)
    result = run(config, tiny_model, STEPS, tmp_path / "out", context())
    first, last = result.losses[0][1], sum(loss for _, loss in result.losses[-5:]) / 5
    assert last < 0.02 < first
    assert result.metrics["value.mae"] < 0.25
    assert result.metrics["value.auroc"] == 1.0
    apart = result.metrics["value.n"]
    assert 0 < apart < len(STEPS)
    assert apart % 2 == 0  # a task is all on one side
    assert result.metrics["value.calibration_error"] <= result.metrics["value.mae"] + 1e-6


def test_equal_seeds_draw_equal_heads(tiny_model, context, tmp_path):
    """Whatever was drawn before: training begins with equal losses, and another seed's with others."""
    config = ValueMSE(epochs=1, batch_size=4, precision="fp32", held_out=0)
    fields = {name: context(name) for name in ("one", "two", "other")}
    fields["other"] = replace(fields["other"], seed=4)
    losses: dict[str, float] = {}
    for number, (name, one) in enumerate(fields.items()):
        torch.manual_seed(number)
        losses[name] = run(config, tiny_model, STEPS[:4], tmp_path / f"{name}.out", one).losses[0][1]
    assert losses["one"] == losses["two"] != losses["other"]


def test_a_partial_solution_without_tokens_stands_whole_behind_the_served_opening():
    """A template would cut it at </think>."""
    chat = chat_with(CUTS)
    text = worth("What is 3 + 4?", "so\n</think>\n\n7", 0.5)
    ids = row(text, lambda: chat).sequences[0].ids
    assert chat.tokenizer.decode(ids).endswith("<|im_start|>assistant\n<think>\nso\n</think>\n\n7")


def test_what_is_written_is_a_model_with_a_value_head_that_goes_on_being_trained(tiny_model, context, tmp_path):
    config = ValueMSE(epochs=10, learning_rate=1e-3, batch_size=4, precision="fp32", held_out=0)
    run(config, tiny_model, STEPS, tmp_path / "one", context("one"))
    check_model(tmp_path / "one")
    kind = json.loads((tmp_path / "one" / "config.json").read_text())
    assert kind["architectures"] == ["LlamaForSequenceClassification"]
    again = run(config, tmp_path / "one", STEPS, tmp_path / "two", context("two"))
    assert again.losses[0][1] < 0.1  # the head is not redrawn
    assert "value.mae" not in again.metrics


def test_weights_that_the_last_update_blew_up_are_not_written(tiny_model, context, tmp_path):
    config = ValueMSE(epochs=1, learning_rate=1e38, batch_size=24, precision="fp32", held_out=0)
    with pytest.raises(RoundFailed, match="the trained weights are not finite numbers"):
        run(config, tiny_model, STEPS, tmp_path / "out", context())
    assert not (tmp_path / "out").exists()


def test_adapters_would_leave_the_head_out_so_they_are_refused():
    with pytest.raises(ValidationError, match="lora: a value model trains all its weights"):
        ValueMSE.model_validate({"lora": {"rank": 4}})


def test_when_all_that_would_be_trained_is_too_long_that_is_said(tiny_model, context, tmp_path):
    """What measures the model is short enough."""
    config = ValueMSE(held_out=0.3, max_length=20)
    kept, _ = _split(config, STEPS)
    long = [of(each.task, "so " * 20, 0.5) if at in kept else each for at, each in enumerate(STEPS)]
    with pytest.raises(RoundFailed, match=f"value_mse: all {len(kept)} examples are longer than max_length 20"):
        run(config, tiny_model, long, tmp_path / "out", context())


def test_what_is_too_long_to_train_on_is_not_measured_on(tiny_model, context, tmp_path):
    config = ValueMSE(held_out=0.3, max_length=20, epochs=1)
    _, apart = _split(config, STEPS)
    long = [of(each.task, "so " * 20, 0.5) if at in apart else each for at, each in enumerate(STEPS)]
    assert "value.n" not in run(config, tiny_model, long, tmp_path / "out", context()).metrics


def test_without_values_there_is_nothing_to_train_on(tiny_model, context, tmp_path):
    with pytest.raises(RoundFailed, match="value_mse: no examples to train on"):
        ValueMSE().train(tiny_model, [], tmp_path / "out", context())


@given(numbers, numbers)
def test_auroc_is_the_chance_that_a_good_one_is_valued_above_a_bad_one(good, bad):
    won = sum((a > b) + 0.5 * (a == b) for a in good for b in bad)
    assert auroc(good, bad) == pytest.approx(won / (len(good) * len(bad)))


@given(st.lists(st.tuples(st.floats(-0.5, 1.5), st.floats(0, 1)), min_size=1, max_size=30))
def test_figures_are_what_they_are_called(pairs):
    predicted, labels = map(list, zip(*pairs, strict=True))
    found = figures(predicted, labels, [None] * len(pairs), ["one"] * len(pairs))
    assert found["mae"] == pytest.approx(sum(abs(p - q) for p, q in pairs) / len(pairs))
    assert found["within_0.1"] == sum(abs(p - q) <= 0.1 for p, q in pairs) / len(pairs)
    assert sum(n for name, n in found.items() if name.endswith(".n")) == len(pairs)
    assert "auroc" not in found
    cut = [min(max(p, 0), 1) for p in predicted]
    assert math.isclose(
        sum(found[n.replace(".n", ".predicted")] * found[n] for n in found if n.endswith(".n")), sum(cut), abs_tol=1e-6
    )


STEPS_OF_TASKS = (
    [0.9, 0.8, 0.2, 0.1, 0.5, 0.5],
    [1.0, 1.0, 0.0, 0.0, 0.5, 0.0],
    [True, True, False, False, None, False],
)


def test_auroc_says_on_how_many_right_and_wrong_steps_and_leaves_out_the_unknown():
    found = figures(*STEPS_OF_TASKS, tasks="aabbcc")
    assert (found["auroc"], found["auroc.right"], found["auroc.wrong"]) == (1.0, 2, 3)
    assert (found["n"], found["n.tasks"]) == (6, 3)


def test_the_error_stands_beside_that_of_the_best_constant():
    """Labels 1 1 0 0 .5 0: the median is .25, from which they are .75 .75 .25 .25 .25 .25 away."""
    assert figures(*STEPS_OF_TASKS, tasks="aabbcc")["mae.constant"] == pytest.approx(2.5 / 6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0, 1))
def test_no_constant_errs_less_than_the_one_that_is_shown(labels, constant):
    shown = figures(labels, labels, [None] * len(labels), tasks=["t"] * len(labels))["mae.constant"]
    assert shown <= sum(abs(label - constant) for label in labels) / len(labels) + 1e-12


def test_steps_of_one_tree_are_no_independent_evidence():
    """Twenty tasks that are all right or all wrong: ten times the steps tell nothing more."""
    predicted, right = [0.3 + 0.02 * n for n in range(20)], [n % 3 > 0 for n in range(20)]
    labels = [float(is_right) for is_right in right]
    once = figures(predicted, labels, right, [str(n) for n in range(20)])
    often = figures(predicted * 10, labels * 10, right * 10, [str(n) for n in range(20)] * 10)
    for figure in ("mae", "auroc"):
        assert once[figure] == pytest.approx(often[figure])
        for end in ("low", "high"):
            assert once[f"{figure}.{end}"] == pytest.approx(often[f"{figure}.{end}"])
        assert once[f"{figure}.low"] < once[figure] < once[f"{figure}.high"]
    assert once["auroc.high"] - once["auroc.low"] > 0.3


def test_a_single_task_has_no_interval():
    found = figures([0.9, 0.1], [1.0, 0.0], [True, False], tasks="aa")
    assert found["auroc"] == 1.0
    assert not [name for name in found if name.endswith((".low", ".high"))]


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.4, 0.4, 0.8]), st.booleans(), st.sampled_from("abc")), min_size=2))
def test_the_interval_holds_what_resampled_tasks_can_give(steps):
    predicted, right, tasks = zip(*steps, strict=True)
    found = figures(predicted, [0.0] * len(steps), right, tasks)
    if "auroc.low" in found:
        assert 0 <= found["auroc.low"] <= found["auroc.high"] <= 1
