"""Tasks to test with."""

from selftaught.records import Message, Task


def sums(count: int = 8) -> list[Task]:
    """`count` training tasks with different answers, and worked solutions: what is 2 + 3, 3 + 4 and so on."""
    return [
        Task(
            messages=(Message(role="user", content=f"What is {n} + {n + 1}?"),),
            answer=str(2 * n + 1),
            source="sums",
            texts={"reference": f"{n} + {n + 1} = {2 * n + 1}. The answer is {2 * n + 1}."},
        )
        for n in range(2, 2 + count)
    ]
