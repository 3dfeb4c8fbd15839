"""A naive tree search, written from the papers' formulas alone: one request at a time, plain dictionaries, recursion.

What `selftaught.search` has to equal, node by node, on a model that answers the same. Where a formula says what a node
is worth by all that is below it, it is applied to all of that again after each iteration, and not kept up to date.
"""

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from selftaught.blocks import Completion
from tests.search.scripted import Scripted

Node = dict[str, Any]
FRONTIERS = ("beam", "dfs", "best_first", "dvts", "rebase")


def search(model: Scripted, question: str, select: str, backup: str, ask: dict[str, Any]) -> list[Node]:
    """The nodes of the tree after `ask["iterations"]` iterations, in the order in which they came to be."""
    root = node("", None, 0.0)
    made = [root]
    for _ in range(ask["iterations"]):
        frontier = pick(made, select, ask) if select in FRONTIERS else several(root, select, ask)
        if not frontier:
            break
        for each in frontier:
            grow(model, question, each, made, ask)
            if ask["look_ahead"] and (new := [child for child in each["children"] if not child["N"]]):
                look_ahead(model, question, max(new, key=lambda c: c["est"]), made, ask)
        for each in frontier:
            number(each, made)
        for each in frontier:
            back_up(each, backup, ask)
    return made


def node(text: str, parent: Node | None, estimate: float) -> Node:
    depth = parent["depth"] + 1 if parent else 0
    return {
        "text": text, "parent": parent, "est": estimate, "V": estimate, "N": 0, "children": [], "terminal": False,
        "depth": depth, "prior": 1.0, "grown": False, "tried": False, "ahead": None, "once": False,
        "out": [],
    }  # fmt: skip


def number(each: Node, made: list[Node]) -> None:
    """What has come to be below a node, in order: its children, then what is below each of them."""
    made += [child for child in each["children"] if not any(child is known for known in made)]
    for child in each["children"]:
        number(child, made)


def full_text(each: Node | None) -> str:
    return full_text(each["parent"]) + each["text"] if each else ""


def dead(each: Node, ask: dict[str, Any]) -> bool:
    """Whether nothing can grow at or below a node."""
    if each["terminal"] or each["depth"] >= ask["depth"] or (each["parent"] and each["est"] < ask["prune"]):
        return True
    return each["grown"] and all(dead(child, ask) for child in each["children"])


def stuck(each: Node, ask: dict[str, Any]) -> bool:
    """Whether a node can be resumed from, but into none of its children, or not before it has more of them."""
    return not dead(each, ask) and (few(each, ask) or all(dead(child, ask) for child in each["children"]))


def few(each: Node, ask: dict[str, Any]) -> bool:
    """Whether a look-ahead or roll-outs alone left children, or they are fewer than the next visit's C N^alpha."""
    return each["tried"] or (bool(each["children"]) and not each["grown"] and len(each["children"]) < wide(each, ask))


def wide(each: Node, ask: dict[str, Any]) -> int:
    """Progressive widening (Couetoux et al. 2011): k(N) = ceil(C N^alpha), N with the visit that is to come."""
    return math.ceil(ask["n"] * (each["N"] + 1) ** ask["alpha"]) if ask["alpha"] else 0


def several(root: Node, select: str, ask: dict[str, Any]) -> list[Node]:
    """Virtual loss (Chaslot et al. 2008): a walk that is under way counts for the next one as a visit that lost."""
    chosen: list[Node] = []
    for _ in range(ask["leaves"]):
        leaf = descend(root, select, ask, chosen)
        if leaf is not None:
            chosen.append(leaf)
    return chosen


def losses(each: Node, chosen: list[Node]) -> int:
    return sum(any(part is each for part in [leaf, *ancestors(leaf)]) for leaf in chosen)


def gone(each: Node, chosen: list[Node], ask: dict[str, Any]) -> bool:
    """Whether nothing that is not chosen yet can grow at or below a node."""
    if dead(each, ask) or any(each is leaf for leaf in chosen):
        return True
    return not stuck(each, ask) and all(gone(child, chosen, ask) for child in each["children"])


def descend(each: Node, select: str, ask: dict[str, Any], chosen: list[Node]) -> Node | None:
    if gone(each, chosen, ask):
        return None
    while not stuck(each, ask):
        alive = [child for child in each["children"] if not gone(child, chosen, ask)]
        scores = [score(lossy(child, chosen), lossy(each, chosen), select, ask) for child in alive]
        each = alive[scores.index(max(scores))]
    return each


def lossy(each: Node, chosen: list[Node]) -> Node:
    lost, known = losses(each, chosen), max(each["N"], 1)
    return each | {"N": each["N"] + lost, "V": each["V"] * known / (known + lost)}


def score(child: Node, parent: Node, select: str, ask: dict[str, Any]) -> float:
    c, n, big = ask["c"], child["N"], parent["N"]
    if select == "ucb":
        return child["V"] + (c * math.sqrt(2 * math.log(big) / n) if n else 1.0)
    if select == "uct":
        return child["V"] + c * math.sqrt(math.log(big) / n) if n else math.inf
    if select == "puct":
        return child["V"] + c * child["prior"] * math.sqrt(big) / (1 + n)
    return child["V"]


def pick(made: list[Node], select: str, ask: dict[str, Any]) -> list[Node]:
    if select == "beam":
        alive = leaves(made, ask)
        layers = sorted({each["depth"] for each in alive})
        return sorted([each for each in alive if each["depth"] == layers[-1]], key=lambda n: -n["V"])[: ask["width"]]
    if select == "dvts":
        return dvts(made[0], leaves(made, ask), ask)
    if select == "rebase":
        return rebase(made, ask)
    best = sorted(leaves(made, ask), key=lambda each: -each["V"])
    return sorted(best, key=lambda each: -each["depth"])[:1] if select == "dfs" else best[:1]


def dvts(root: Node, found: list[Node], ask: dict[str, Any]) -> list[Node]:
    """Beeching et al. 2024: each beam resumes from its own best step, whatever the others found."""
    if found == [root]:
        return [root]
    chosen = []
    for beam in range(ask["beams"]):
        heads = root["children"][beam :: ask["beams"]]
        own = [each for each in found if any(part is head for part in [each, *ancestors(each)] for head in heads)]
        if own:
            deepest = max(each["depth"] for each in own)
            chosen.append(max([each for each in own if each["depth"] == deepest], key=lambda each: each["V"]))
    return chosen


def rebase(made: list[Node], ask: dict[str, Any]) -> list[Node]:
    """Wu et al. 2024: W_j = round(B_i exp(R_j / T) / sum_k exp(R_k / T)); B_i is the width less the paths completed."""
    budget = ask["width"] - len([each for each in made if completed(each, ask)])
    layer = pick(made, "beam", ask | {"width": len(made)})
    if budget <= 0:
        return []
    total = sum(math.exp(each["V"] / ask["T"]) for each in layer)
    for each in layer:
        each["W"] = math.floor(round(budget * math.exp(each["V"] / ask["T"]) / total, 9) + 0.5)
    if layer and not any(each["W"] for each in layer):
        layer[0]["W"] = 1
    return [each for each in layer if each["W"]]


def completed(each: Node, ask: dict[str, Any]) -> bool:
    """Whether a path ends here, of those that were grown: steps of look-aheads and roll-outs are not yet among them."""
    ends = dead(each, ask) and not (each["children"] and each["once"])
    return ends and all(above["once"] for above in ancestors(each))


def leaves(made: list[Node], ask: dict[str, Any]) -> list[Node]:
    """What can grow now: nothing below a node that has few children, which grows itself first, or that is given up."""
    shut = {id(each) for each in made if few(each, ask) or dead(each, ask)}
    return [each for each in made if stuck(each, ask) and not any(id(above) in shut for above in ancestors(each))]


def ancestors(each: Node) -> Iterator[Node]:
    while each["parent"]:
        each = each["parent"]
        yield each


def grow(model: Scripted, question: str, each: Node, made: list[Node], ask: dict[str, Any]) -> None:
    text, before = question + ">" + full_text(each), len(each["children"])
    goal = each.get("W", ask["n"]) + (before if each["once"] else 0)
    if ask["alpha"] and "W" not in each:
        goal = max(wide(each, ask), before + (not few(each, ask)))
    new: list[Node] = []
    if ask["coverage"] and not each["tried"]:
        new += take(model, text, 1, each, ask)
    asked = not covers(each, ask) and len(each["children"]) < goal
    if asked:
        new += take(model, text, goal - len(each["children"]), each, ask)
    ever = ask["coverage"] or ask["alpha"]
    each["grown"] = not ever or covers(each, ask) or (before < goal and not new)
    each["tried"], each["once"] = False, True
    appraise(model, question, new, made, ask)


def covers(each: Node, ask: dict[str, Any]) -> bool:
    return ask["coverage"] is not None and sum(child["p"] for child in each["children"]) >= ask["coverage"]


def take(model: Scripted, text: str, n: int, each: Node, ask: dict[str, Any]) -> list[Node]:
    """What `n` samples brought that is new: steps, or roll-outs of several, each a path below the node."""
    new: list[Node] = []
    for said in model.steps(text, n, 0.7, not ask["rollout"]):
        at, lines = each, said.text.splitlines(keepends=True)
        for i, line in enumerate(lines):
            last = i == len(lines) - 1
            terminal = last and said.stop is None and said.finish_reason == "stop"
            spot = sum(len(before) for before in lines[:i])
            logprobs = said.logprobs[spot : spot + len(line)] if ask["rollout"] else said.logprobs
            ending = (terminal, said.finish_reason if last else "stop")
            child = same(at, line, ending)
            if child is None:
                child = born(line, at, ending, logprobs)
                new.append(child)
            at = child
    return new


def same(at: Node, line: str, ending: tuple[bool, str]) -> Node | None:
    alike = [child for child in at["children"] if child["text"].split() == line.split()]
    return next((child for child in alike if child["ending"] == ending), None)


def born(line: str, at: Node, ending: tuple[bool, str], logprobs: tuple[float, ...]) -> Node:
    child = node(line, at, 0.0)
    child["terminal"], child["ending"], child["p"] = ending[0], ending, math.exp(sum(logprobs))
    child["prior"] = math.exp(sum(logprobs) / len(logprobs) ** 1.25)
    at["children"].append(child)
    at["tried"] = not at["once"]
    return child


def appraise(model: Scripted, question: str, new: list[Node], made: list[Node], ask: dict[str, Any]) -> None:
    """What siblings are worth; their roll-outs become paths below them, each step worth what ran through it."""
    said = [[] if child["terminal"] else rolled(model, question + ">" + full_text(child), ask) for child in new]
    worths = judged(new, said, made, ask)
    for child, worth in zip(new, worths, strict=True):
        child["est"] = child["V"] = mix(model, question, child, sum(worth) / len(worth) if worth else 0.0, ask)
    kept: list[Node] = []
    for child, answers, worth in zip(new, said, worths, strict=True):
        for answer, each in zip(answers, worth, strict=False):  # an answer that ended has a worth and no roll-outs
            kept += path(child, answer, each, ask) if ask["keep"] else []
    for step in kept:
        step["est"] = step["V"] = mix(model, question, step, sum(step["out"]) / len(step["out"]), ask)


def rolled(model: Scripted, text: str, ask: dict[str, Any]) -> list[Completion]:
    return [] if ask["value"] == "value_model" else model.steps(text, ask["rollouts"], 1.0, False)


def mix(model: Scripted, question: str, each: Node, outcome: float, ask: dict[str, Any]) -> float:
    value = model.value(question + ">" + full_text(each))
    return {"value_model": value, "weighted": (value + 3 * outcome) / 4}.get(ask["value"], outcome)


def judged(new: list[Node], said: list[list[Completion]], made: list[Node], ask: dict[str, Any]) -> list[list[float]]:
    """Math-Shepherd's soft estimate: an answer that ends in b is right; for a vote, one that most come to."""
    answers = [
        [(full_text(child) + each.text, each.finish_reason == "stop") for each in found]
        if found
        else [(full_text(child), True)] * child["terminal"]
        for child, found in zip(new, said, strict=True)
    ]
    if ask["value"] != "vote":
        return [[float(text.endswith("b")) for text, _ in each] for each in answers]
    had = [(full_text(each), True) for each in made if each["terminal"] for _ in range(len(each["out"]) or 1)]
    votes = Counter(number_of(text) for text, ended in [*had, *itertools.chain(*answers)] if ended)
    winner = votes.most_common(1)[0][0] if votes else None
    return [[float(ended and number_of(text) == winner) for text, ended in each] for each in answers]


def number_of(text: str) -> str:
    """The last number in a text: what broke off within a line may have been resumed in the same one."""
    return re.findall(r"\d+", text)[-1]


def path(each: Node, answer: Completion, worth: float, ask: dict[str, Any]) -> list[Node]:
    """The steps of a roll-out below a node, those that are new; what is deeper than the limit is one last step."""
    lines, room = answer.text.splitlines(keepends=True), max(ask["depth"] - each["depth"], 0)
    texts = lines if len(lines) <= room else [*lines[:room], "".join(lines[room:])]
    new: list[Node] = []
    begin = 0
    for i, text in enumerate(texts, 1):
        finish = answer.finish_reason if i == len(texts) else "stop"
        ending = (i == len(texts) and finish == "stop", finish)
        child = same(each, text, ending)
        if child is None:
            child = born(text, each, ending, answer.logprobs[begin : begin + len(text)])
            new.append(child)
        each = child
        each["out"].append(worth)
        begin += len(text)
    return new


def look_ahead(model: Scripted, question: str, child: Node, made: list[Node], ask: dict[str, Any]) -> None:
    """ReST-MCTS*: (1 - alpha) V + alpha max over the roll-out; what was sampled on it belongs to the tree."""
    child["N"] += 1
    each, seen = child, list[float]()
    for _ in range(ask["look_ahead"]):
        if dead(each, ask):
            break
        if not each["children"]:
            new = take(model, question + ">" + full_text(each), ask["branch"], each, ask)
            each["tried"] = True  # even where nothing came
            appraise(model, question, new, made, ask)
        each = max(each["children"], key=lambda c: c["est"])
        seen.append(each["est"])
    if seen:
        child["V"] = child["ahead"] = 0.5 * child["V"] + 0.5 * max(seen)


def back_up(each: Node, backup: str, ask: dict[str, Any]) -> None:
    if backup == "mean":
        alphallm(each)
        return
    node: Node | None = each
    while node is not None:
        node["N"] += 1
        node = node["parent"]
    worth_of = {"max": best, "visit_mean": visit_mean, "q_value": comparable}[backup]
    for seen in [*(low for low in deepest_first(each) if low["once"]), each, *ancestors(each)]:
        if seen["children"]:
            seen["V"] = worth_of(seen, ask)


def deepest_first(each: Node) -> Iterator[Node]:
    for child in each["children"]:
        yield from deepest_first(child)
        yield child


def best(each: Node, ask: dict[str, Any]) -> float:
    return max(child["V"] for child in each["children"])


def visit_mean(each: Node, ask: dict[str, Any]) -> float:
    """ReST-MCTS*: V = sum N V / sum N; a child that no walk can go into has been looked at once."""
    seen = [(child["N"] or int(dead(child, ask)), child["V"]) for child in each["children"]]
    return sum(n * v for n, v in seen) / sum(n for n, _ in seen) if any(n for n, _ in seen) else each["V"]


def comparable(each: Node, ask: dict[str, Any]) -> float:
    """MCTS-DPO's Q, from the estimates of the entire tree below, on its parent's estimate."""
    return q_value(each, ask["gamma"]) + (each["parent"]["est"] if each["parent"] else 0.0)


def q_value(each: Node, gamma: float) -> float:
    """Q = r + gamma V, V = sum max(1, N) Q / sum max(1, N), r the gain of the estimate; a leaf's V is 0."""
    before = each["parent"]["est"] if each["parent"] else 0.0
    if not each["children"] or each["tried"]:
        return (each["est"] if each["ahead"] is None else each["ahead"]) - before
    weights = [max(1, child["N"]) for child in each["children"]]
    below = sum(w * q_value(child, gamma) for w, child in zip(weights, each["children"], strict=True)) / sum(weights)
    return each["est"] - before + gamma * below


def alphallm(grown: Node) -> None:
    """Q is the mean of what a node and all below it were worth when they were made, N how many they are."""
    for each in [*(low for low in below(grown) if low["once"]), grown, *ancestors(grown)]:
        born = list(worths(each))
        each["N"], each["V"] = len(born), sum(born) / len(born)
    for child in below(grown):
        child["N"] = max(child["N"], 1)


def below(each: Node) -> Iterator[Node]:
    for child in [] if each["tried"] else each["children"]:
        yield child
        yield from below(child)


def worths(each: Node) -> Iterator[float]:
    yield each["est"] if each["ahead"] is None else each["ahead"]
    for child in [] if each["tried"] else each["children"]:
        yield from worths(child)
