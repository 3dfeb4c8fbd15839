"""Trees for tests, written as nested dictionaries: a step's text to what follows it; True and False end an answer."""

from selftaught.records import Group, Message, Node, Rollout, Task, Tree, Turn, Verdict

TASK = Task(messages=(Message(role="user", content="?"),), answer="1", source="test")


def grown(shape, values=None, visits=None, hinted=()):
    """A verified group with a tree of `shape`; texts are unique and name their nodes in `values` and `visits`."""
    nodes, leaves = [Node(index=0)], []

    def add(below, parent):
        for text, more in below.items():
            index = len(nodes)
            ended = isinstance(more, bool)
            nodes.append(
                Node(
                    index=index,
                    parent=parent,
                    text=text,
                    token_ids=tuple(text.encode()),
                    terminal=ended,
                    value=(values or {}).get(text, 0.0),
                    visits=(visits or {}).get(text, 0),
                    hinted=text in hinted,
                )
            )
            if ended:
                leaves.append((index, more))
            elif more:
                add(more, index)

    add(shape, 0)
    tree = Tree(prompt_ids=(1, 2), nodes=tuple(nodes), ended="iterations")
    rollouts = tuple(
        Rollout(
            task=TASK.id,
            index=index,
            model="m",
            temperature=1.0,
            hinted=nodes[index].hinted,
            turns=(Turn(content=tree.text(index)),),
        )
        for index, _ in leaves
    )
    verdicts = tuple((Verdict.of("v", right),) for _, right in leaves)
    return Group(task=TASK, rollouts=rollouts, verdicts=verdicts, tree=tree)


def unjudged(group, *texts):
    """`group`, whose answers that end with a step of `texts` its verifier could not judge."""
    lost = [group.tree.nodes[rollout.index].text in texts for rollout in group.rollouts]
    error = (Verdict.errored("v", "no answer in time"),)
    return group.model_copy(
        update={"verdicts": tuple(error if gone else each for gone, each in zip(lost, group.verdicts, strict=True))}
    )


def by_text(tree, values):
    """`values` of node indexes, under the nodes' texts."""
    return {tree.nodes[index].text: value for index, value in values.items() if index}
