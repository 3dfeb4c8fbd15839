"""Selection: which open nodes a search grows next.

Two kinds. A descent walks from the root to a leaf, at each node into the child with the highest score (UCB, UCT, PUCT,
greedy). A frontier looks at all that can grow at once (beam, DVTS, REBASE, depth first, best first). Ties go to the
older node, so a choice is a function of the tree alone.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from selftaught.search.parts import Selection
from selftaught.search.tree import SearchNode, SearchTree, worth


class Descent(Selection):
    """Walk down from the root by a score, past what is closed, to a node that can grow; to several at once if asked to.

    A walk under way is a virtual loss to the next one (Chaslot et al. 2008; AlphaGo, Silver et al. 2016, counts several
    losses a walk): one more visit, worth 0, which is the least here, to each node on it. It is rolled back when
    the walk's result is backed up, here when all are chosen, since they are backed up together. Ours alone: the value
    of a node without a visit counts as one, and no leaf is chosen twice.
    """

    leaves: PositiveInt = 1
    """Leaves of a tree that are grown at once, by virtual loss: more make it less a chain of requests."""

    def choose(self, tree: SearchTree) -> list[SearchNode]:
        chosen, taken = list[SearchNode](), set[SearchNode]()
        before = dict[SearchNode, tuple[int, float]]()
        while len(chosen) < self.leaves and (leaf := self._walk(tree.root, taken)):
            chosen.append(leaf)
            _take(leaf, taken)
            for node in leaf.lineage():
                visits, value = before.setdefault(node, (node.visits, node.value))
                node.visits += 1
                known = max(visits, 1)
                node.value = value * known / (known + node.visits - visits)
        for node, (visits, value) in before.items():
            node.visits, node.value = visits, value
        return chosen

    def at_once(self) -> int:
        return self.leaves

    def _walk(self, root: SearchNode, taken: set[SearchNode]) -> SearchNode | None:
        node = root
        while ways := [way for way in node.open_children() if way not in taken]:
            node = max(ways, key=lambda child, parent=node: (self.score(child, parent), -child.index))
        return None if node.closed or node in taken else node

    @abstractmethod
    def score(self, child: SearchNode, parent: SearchNode) -> float:
        """How much `child` deserves to be walked into."""


class UCB(Descent, type="ucb"):
    """V + c sqrt(2 ln N / n); an unvisited child scores V + `unvisited`. ReST-MCTS* (arXiv 2406.03816), its code.

    The reference walks into finished answers again;
    here they are passed over, so no iteration is spent where nothing can grow.
    """

    c: NonNegativeFloat = 0.7
    """Weight of exploring: the higher, the more evenly children are visited."""
    unvisited: NonNegativeFloat = 1.0
    """What an unvisited child has above its value; with a large one every child is visited once before any twice."""

    def score(self, child: SearchNode, parent: SearchNode) -> float:
        if child.visits == 0:
            return child.value + self.unvisited
        return child.value + self.c * math.sqrt(2 * math.log(parent.visits) / child.visits)


class UCT(Descent, type="uct"):
    """Q + c sqrt(ln N / n), unvisited children first. Kocsis & Szepesvári 2006; AlphaLLM (arXiv 2404.12253) with c = 1.

    Q is the node's value under the search's back-up (with `mean`: the average of what was backed up).
    """

    c: NonNegativeFloat = 1.0
    """Weight of exploring: the higher, the more evenly children are visited."""

    def score(self, child: SearchNode, parent: SearchNode) -> float:
        if child.visits == 0:
            return math.inf
        return child.value + self.c * math.sqrt(math.log(parent.visits) / child.visits)


class PUCT(Descent, type="puct"):
    """Q + c p sqrt(N) / (1 + n), p the step's length-normalised probability. MCTS-DPO (arXiv 2405.00451), its code."""

    c: NonNegativeFloat = 1.0
    """Weight of exploring: the higher, the sooner likely steps are visited whatever their value."""

    def score(self, child: SearchNode, parent: SearchNode) -> float:
        return child.value + self.c * child.prior * math.sqrt(parent.visits) / (1 + child.visits)


class Greedy(Descent, type="greedy"):
    """Always into the child of the highest value."""

    def score(self, child: SearchNode, parent: SearchNode) -> float:
        return child.value


class Beam(Selection, type="beam"):
    """The `width` best nodes of the deepest layer that can grow, all at once: breadth-first search of Tree of Thoughts.

    Yao et al. 2023 (arXiv 2305.10601), algorithm 1. There a search ends after so many layers; here it ends at its
    limits, so an answer that has ended takes no slot in the beam, and where a layer has nothing left that can grow,
    what fell out of the beam in the one above continues.
    """

    width: PositiveInt = 5
    """Nodes of a layer that are grown."""

    def at_once(self) -> int:
        return self.width

    def choose(self, tree: SearchTree) -> list[SearchNode]:
        return _deepest(tree)[: self.width]


class DVTS(Selection, type="dvts"):
    """Diverse verifier tree search: `beams` independent subtrees, of each the best node of its deepest layer.

    Beeching et al. 2024 (Scaling test-time compute with open models, Hugging Face): of a budget N at width M, N / M
    beams. The root's children are dealt to the beams in turn, so give it N of them (`root_n`) where a step gets M
    (`n`). In its code (huggingface/search-and-learn) each beam samples its own first M, so two may begin alike, which
    the expansion's `merge` prevents here; a step is scored with one more step after it (here: `look_ahead`); a beam
    ends when its best step ends an answer, where here it continues with its next best until the search's limits; and
    only the M steps that a beam sampled last are answers, where here all that ended are.
    """

    beams: PositiveInt = 4
    """Subtrees, each of which grows one node at a time."""

    def at_once(self) -> int:
        return self.beams

    def choose(self, tree: SearchTree) -> list[SearchNode]:
        growing, best = _growing(tree), dict[int, SearchNode]()
        for node in growing:
            beam = tree.root.children.index(node.path()[0]) % self.beams if node.parent else 0
            best[beam] = max(best.get(beam, node), node, key=lambda each: (each.depth, worth(each)))
        return [best[beam] for beam in sorted(best)]


class Rebase(Selection, type="rebase"):
    """All nodes of the deepest layer at once, the budget shared among them by the softmax of their values.

    Wu et al. 2024 (arXiv 2408.00724, section 3.1.2), REBASE: node j gets round(B exp(V_j / T) / sum exp(V / T))
    children (equation 1), B is `width` less the paths that have ended (with an answer; in its code, thu-wyz/rebase,
    also at their limit of tokens; here also where they are pruned); the root gets `width`. Equation 1 may add up to a
    little more or less than B. The code differs from it: the best node first, each gets the ceiling of its share of
    what is left, which spends B. Width and temperature are that code's. Ours alone: of nodes that all round to none the
    best gets one; what got none continues when the layers below have nothing left, as with `beam`; and duplicates are
    dropped, if `merge` says so.
    """

    width: PositiveInt = 16
    """The budget B: paths of the tree, in all."""
    temperature: PositiveFloat = 0.2
    """T of the softmax: the lower, the more of the budget goes to the best."""

    def at_once(self) -> int:
        return 2 * self.width  # as many halves of a child, each of them rounded up

    def most_children(self, nodes: int, n: int) -> int:
        return self.width + nodes // 2  # half a child is the most that rounding adds to a share

    def choose(self, tree: SearchTree) -> list[SearchNode]:
        return list(self._shares(tree))

    def children(self, tree: SearchTree, chosen: Sequence[SearchNode]) -> list[int | None]:
        shares = self._shares(tree)
        return [shares[node] for node in chosen]

    def _shares(self, tree: SearchTree) -> dict[SearchNode, int]:
        """The nodes that get children, the best first, and how many."""
        left = self.width - sum(map(_over, tree.nodes))
        layer = _deepest(tree)
        if left <= 0 or not layer:
            return {}
        weights = [math.exp((node.value - layer[0].value) / self.temperature) for node in layer]
        shares = [int(left * weight / sum(weights) + 0.5) for weight in weights]
        return {node: share for node, share in zip(layer, shares, strict=True) if share} or {layer[0]: 1}


class DepthFirst(Selection, type="dfs"):
    """The best child of the node grown last, else back up: depth-first search of Tree of Thoughts (algorithm 2).

    The search's `prune` is its threshold.
    """

    def choose(self, tree: SearchTree) -> list[SearchNode]:
        growing = _growing(tree)
        return [max(growing, key=lambda node: (node.depth, worth(node)))] if growing else []


class BestFirst(Selection, type="best_first"):
    """The node of the highest value, wherever it is, among those that can grow."""

    def choose(self, tree: SearchTree) -> list[SearchNode]:
        growing = _growing(tree)
        return [max(growing, key=worth)] if growing else []


def _over(node: SearchNode) -> bool:
    """Whether a path that was grown ends at `node`; what a look-ahead or roll-out left below one does not count yet."""
    above = node.parent.lineage() if node.parent else ()
    return node.closed and not (node.expanded and node.children) and all(each.expanded for each in above)


def _growing(tree: SearchTree) -> list[SearchNode]:
    """What a descent could come to: open nodes without a way on, and none below those that are to grow first."""
    found, ahead = list[SearchNode](), [tree.root]
    while ahead:
        node = ahead.pop()
        ways = node.open_children()
        ahead += ways
        if not ways and not node.closed:
            found.append(node)
    return found


def _take(leaf: SearchNode, taken: set[SearchNode]) -> None:
    """Count `leaf` as taken, and each ancestor that leads to taken nodes alone."""
    for node in leaf.lineage():
        if any(way not in taken for way in node.open_children()):
            return
        taken.add(node)


def _deepest(tree: SearchTree) -> list[SearchNode]:
    """The deepest layer of what can grow, the best node first."""
    growing = _growing(tree)
    deepest = max((node.depth for node in growing), default=0)
    return sorted((node for node in growing if node.depth == deepest), key=worth, reverse=True)
