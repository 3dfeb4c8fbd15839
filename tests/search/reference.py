"""A naive tree search, written from the papers' formulas alone: one request at a time, plain dictionaries, recursion.

What `selftaught.search` has to equal, node by node, on a model that answers the same.
"""

import math
from typing import Any

from tests.search.scripted import Scripted

Node = dict[str, Any]


def search(model: Scripted, question: str, select: str, backup: str, ask: dict[str, Any]) -> list[Node]:
    """The nodes of the tree after `ask["iterations"]` iterations, in the order in which they came to be."""
    root = node("", None, 0.0)
    made = [root]
    for _ in range(ask["iterations"]):
        leaf = descend(root, select, ask) if select not in ("beam", "dfs", "best_first") else None
        frontier = [leaf] if leaf else pick(made, select, ask)
        if not [each for each in frontier if each]:
            break
        new = [grow(model, question, each, made, ask) for each in frontier]
        for each, children in zip(frontier, new, strict=True):
            if ask["look_ahead"] and children:
                look_ahead(model, question, max(children, key=lambda c: c["V"]), ask)
            back_up(each, backup, ask)
    return made


def node(text: str, parent: Node | None, estimate: float) -> Node:
    depth = parent["depth"] + 1 if parent else 0
    return {
        "text": text, "parent": parent, "est": estimate, "V": estimate, "N": 0, "children": [], "terminal": False,
        "depth": depth, "prior": 1.0, "grown": False,
    }  # fmt: skip


def full_text(each: Node | None) -> str:
    return full_text(each["parent"]) + each["text"] if each else ""


def dead(each: Node, ask: dict[str, Any]) -> bool:
    """Whether nothing can grow at or below a node."""
    if each["terminal"] or each["depth"] >= ask["depth"] or (each["parent"] and each["est"] < ask["prune"]):
        return True
    return each["grown"] and all(dead(child, ask) for child in each["children"])


def stuck(each: Node, ask: dict[str, Any]) -> bool:
    """Whether a node can be gone on from, but into none of its children."""
    return not dead(each, ask) and all(dead(child, ask) for child in each["children"])


def descend(each: Node, select: str, ask: dict[str, Any]) -> Node | None:
    if dead(each, ask):
        return None
    while not stuck(each, ask):
        alive = [child for child in each["children"] if not dead(child, ask)]
        scores = [score(child, each, select, ask) for child in alive]
        each = alive[scores.index(max(scores))]
    return each


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
        deepest = max(each["depth"] for each in made)
        layer = sorted([each for each in made if each["depth"] == deepest], key=lambda each: -each["V"])
        return [each for each in layer[: ask["width"]] if not dead(each, ask)]
    leaves = [each for each in made if stuck(each, ask)]
    if select == "dfs":
        leaves.sort(key=lambda each: -each["V"])
        return sorted(leaves, key=lambda each: -each["depth"])[:1]
    return sorted(leaves, key=lambda each: -each["V"])[:1]


def grow(model: Scripted, question: str, each: Node, made: list[Node], ask: dict[str, Any]) -> list[Node]:
    text, before = question + ">" + full_text(each), len(each["children"])
    if ask["coverage"]:
        take(model, text, 1, each, made)
    if not covers(each, ask) and len(each["children"]) - before < ask["n"]:
        take(model, text, ask["n"] - len(each["children"]) + before, each, made)
    each["grown"] = not ask["coverage"] or covers(each, ask) or len(each["children"]) == before
    return each["children"][before:]


def covers(each: Node, ask: dict[str, Any]) -> bool:
    return ask["coverage"] is not None and sum(child["p"] for child in each["children"]) >= ask["coverage"]


def take(model: Scripted, text: str, n: int, each: Node, made: list[Node]) -> None:
    for step in model.steps(text, n, 0.7, True):
        if step.text.split() in [child["text"].split() for child in each["children"]]:
            continue
        child = node(step.text, each, model.value(text + step.text))
        child["terminal"] = step.stop is None
        child["p"] = math.exp(sum(step.logprobs))
        child["prior"] = math.exp(sum(step.logprobs) / len(step.logprobs) ** 1.25)
        each["children"].append(child)
        made.append(child)


def look_ahead(model: Scripted, question: str, child: Node, ask: dict[str, Any]) -> None:
    child["N"] += 1
    text, ended, best = question + ">" + full_text(child), child["terminal"], None
    for _ in range(ask["look_ahead"]):
        if ended:
            break
        (step,) = model.steps(text, 1, 0.7, True)
        text, ended = text + step.text, step.stop is None
        best = max(model.value(text), -1.0 if best is None else best)
    if best is not None:
        child["V"] = 0.5 * child["V"] + 0.5 * best


def back_up(each: Node | None, backup: str, ask: dict[str, Any]) -> None:
    if backup == "mean":
        gained = max([child["est"] for child in each["children"]] or [each["est"]])
    while each is not None:
        each["N"] += 1
        children = each["children"]
        if backup == "mean":
            each["V"] += (gained - each["V"]) / each["N"] if each["N"] > 1 else gained - each["V"]
        elif backup == "max" and children:
            each["V"] = max(child["V"] for child in children)
        elif backup == "visit_mean" and sum(child["N"] for child in children):
            each["V"] = sum(c["N"] * c["V"] for c in children) / sum(c["N"] for c in children)
        elif backup == "q_value":
            each["V"] = q_value(each, ask["gamma"])
        each = each["parent"]


def q_value(each: Node, gamma: float) -> float:
    """Q = r + gamma V by recursion over all that is below; stores the children's on the way."""
    for child in each["children"]:
        child["V"] = q_value(child, gamma)
    weights = [max(1, child["N"]) for child in each["children"]]
    below = sum(w * c["V"] for w, c in zip(weights, each["children"], strict=True)) / sum(weights) if weights else 0.0
    reward = each["est"] - each["parent"]["est"] if each["parent"] else 0.0
    return reward + gamma * below
