"""What is needed, whatever its age, and why: pure functions of what there is.

A digest is needed when it is an alias's model or the one that a head was trained from, in a champion's lineage, of a
round that is not finished, an earlier round's training data, or held by something that runs. Lineage goes from a model
to its parent, its examples and tasks, its round's plan and record, and from a data set to its parents.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from selftaught.retention.inventory import Registered, Round, State

Edges = Mapping[str, set[str]]
CHAMPIONS = ("champion", "previous")
"""The aliases whose models are kept with their lineage; of the others the model alone is kept."""


def needed(state: State) -> dict[str, str]:
    """Every digest that has to stay, with the first reason that it has."""
    found: dict[str, str] = {}
    for digest, why in (
        *_aliased(state),
        *_parents_of_heads(state),
        *_inherited(state),
        *_unfinished(state),
        *_replayed(state),
        *state.held,
    ):
        found.setdefault(digest, why)
    return found


def owners(state: State) -> dict[str, frozenset[str]]:
    """The lines of each digest: of a model those that have it as a version, of a data set those of its round."""
    followers, found = _reversed(_data_edges(state)), defaultdict[str, set[str]](set)
    for round in state.rounds:
        for digest in reach([round.tasks], followers):
            found[digest] |= round.lines
    for claim in state.claims:
        for model in claim.names if claim.examples else ():
            found[model] |= found.get(claim.examples, set())
    for version in state.versions:
        found[version.digest].add(version.line)
    return {digest: frozenset(lines) for digest, lines in found.items()}


def in_progress(state: State, round: Round) -> set[str]:
    """What an unfinished round refers to: its plan's digests, what was made of its tasks, and what that was made of."""
    edges = _data_edges(state)
    made = reach([round.tasks], _reversed(edges))
    trained = {model for model, examples in _trained_on(state) if examples in made}
    return reach({*made, *round.refers, *trained}, edges)


def reach(start: Iterable[str], edges: Edges) -> set[str]:
    """`start` and everything that can be come to from it."""
    found, waiting = set[str](), list(start)
    while waiting:
        digest = waiting.pop()
        if digest not in found:
            found.add(digest)
            waiting.extend(edges.get(digest, ()))
    return found


def _aliased(state: State) -> Iterator[tuple[str, str]]:
    for version in state.versions:
        if version.aliases:
            yield version.digest, f"{', '.join(sorted(version.aliases))} of {version.line}"


def _parents_of_heads(state: State) -> Iterator[tuple[str, str]]:
    """What recipes call `{iterate: previous}`. `parents` has data sets too, which nobody asks for again."""
    models = {version.digest for version in state.versions}
    for version in state.versions:
        if "head" in version.aliases:
            for parent in models.intersection(version.parents):
                yield parent, f"the model that the head of {version.line} was trained from"


def _inherited(state: State) -> Iterator[tuple[str, str]]:
    """The lineage of every champion: the one of now, the one before, and those that were."""
    edges = _lineage(state)
    for version in state.versions:
        if is_champion(version):
            for digest in reach([version.digest], edges):
                yield digest, f"lineage of {version.line} version {version.version}"


def is_champion(version: Registered) -> bool:
    """Whether users get this version, or got it once."""
    return version.outcome == "promoted" or any(alias in CHAMPIONS for alias in version.aliases)


def _unfinished(state: State) -> Iterator[tuple[str, str]]:
    for round in state.rounds:
        if not round.ended:
            for digest in in_progress(state, round):
                yield digest, f"round {round.name} is not finished"


def _replayed(state: State) -> Iterator[tuple[str, str]]:
    for round in state.rounds:
        for digest in round.replayed:
            yield digest, "later rounds may train on it (replay)"


def _lineage(state: State) -> Edges:
    """What everything is made of, models and data sets alike."""
    edges = _data_edges(state)
    for version in state.versions:
        edges[version.digest].update(version.parents)
    for model, examples in _trained_on(state):
        edges[model].add(examples)
    for round in state.rounds:
        if round.challenger:
            edges[round.challenger] |= {*round.refers, *round.recorded}
    return edges


def _data_edges(state: State) -> defaultdict[str, set[str]]:
    edges = defaultdict[str, set[str]](set)
    for folder in state.folders:
        edges[folder.digest].update(folder.parents)
    return edges


def _reversed(edges: Edges) -> Edges:
    followers = defaultdict[str, set[str]](set)
    for child, parents in edges.items():
        for parent in parents:
            followers[parent].add(child)
    return followers


def _trained_on(state: State) -> Iterator[tuple[str, str]]:
    """Models with the examples that they were trained on, as claims and versions have it."""
    for claim in state.claims:
        yield from ((model, claim.examples) for model in claim.names if claim.examples)
    for version in state.versions:
        yield from ((version.digest, parent) for parent in version.parents)
