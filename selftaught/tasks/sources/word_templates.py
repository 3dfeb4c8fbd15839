"""The stories of word problems: data alone, read by `word_problems`.

A held-out template tells the guard set's problems and is never trained on.
"""

import math
from dataclasses import dataclass
from random import Random
from typing import Literal

Level = Literal[1, 2, 3]

SMALL, LARGE = (2, 9), (2, 24)
"""The ranges of operands, ends included: what stands before a `*`, and everything else."""


@dataclass(frozen=True, slots=True)
class Template:
    """One way to tell a problem of `level` steps.

    `formula` is a sum of products of the operands a, b, c …: `a*b + c - d`. What is subtracted comes last, so a result
    above zero means that nobody ever gives away what he does not have.
    """

    name: str
    level: Level
    formula: str
    text: str

    def operands(self, random: Random) -> dict[str, int]:
        """Random operands by letter, in order."""
        letters = sorted({letter for letter in self.formula if letter.isalpha()})
        return {letter: random.randint(*(SMALL if f"{letter}*" in self.formula else LARGE)) for letter in letters}

    def answer(self, operands: dict[str, int]) -> int:
        """The value of the formula."""
        return sum(int(f"{sign}1") * value for sign, value in self._terms(operands))

    def solution(self, operands: dict[str, int]) -> str:
        """The formula worked out: one calculation a line, products first, and the answer at the end."""
        products = [term.split("*") for term in self.formula.split()[::2] if "*" in term]
        lines = [f"{operands[a]} * {operands[b]} = {operands[a] * operands[b]}" for a, b in products]
        (_, total), *rest = self._terms(operands)
        for sign, value in rest:
            after = total + value if sign == "+" else total - value
            lines.append(f"{total} {sign} {value} = {after}")
            total = after
        return "\n".join([*lines, f"The answer is {total}."])

    def program(self, operands: dict[str, int]) -> str:
        """The formula as a Python program that prints the answer."""
        return f"print({''.join(str(operands.get(each, each)) for each in self.formula.replace('*', ' * '))})"

    def _terms(self, operands: dict[str, int]) -> list[tuple[str, int]]:
        """The terms of the formula: sign and value of each."""
        signs_and_terms = f"+ {self.formula}".split()
        signed = zip(signs_and_terms[::2], signs_and_terms[1::2], strict=True)
        return [(sign, math.prod(operands[x] for x in term.split("*"))) for sign, term in signed]


TRAINED = (
    Template("buy", 1, "a + b",
        "{name} has {a} {things} and buys {b} more. How many {things} does {name} have now?"),
    Template("give", 1, "a - b",
        "{name} has {a} {things} and gives {b} of them to {other}. How many {things} does {name} have left?"),
    Template("boxes", 1, "a*b",
        "{name} has {a} boxes with {b} {things} in each box. How many {things} does {name} have in total?"),
    Template("together", 1, "a + b",
        "{name} has {a} {things} and {other} has {b} {things}. How many {things} do they have together?"),
    Template("table", 1, "a - b",
        "There are {a} {things} on the table. {name} takes {b} of them away. How many {things} are left?"),
    Template("shelves", 1, "a*b",
        "A shop has {a} shelves. Each shelf has {b} {things}. How many {things} does the shop have in total?"),
    Template("finds", 1, "a + b",
        "{name} finds {a} {things} in the morning and {b} {things} in the afternoon. "
        "How many {things} does {name} find in total?"),
    Template("lost", 1, "a - b",
        "{name} had {a} {things} but lost {b} of them. How many {things} does {name} have left?"),
    Template("buy_give", 2, "a + b - c",
        "{name} has {a} {things}, buys {b} more and gives {c} to {other}. How many {things} does {name} have now?"),
    Template("three_friends", 2, "a + b + c",
        "{name} has {a} {things}, {other} has {b} and {third} has {c}. How many {things} do they have together?"),
    Template("boxes_loose", 2, "a*b + c",
        "{name} has {a} boxes with {b} {things} in each box, and {c} loose {things}. "
        "How many {things} does {name} have in total?"),
    Template("boxes_give", 2, "a*b - c",
        "{name} has {a} bags with {b} {things} in each bag and gives {c} {things} to {other}. "
        "How many {things} does {name} have left?"),
    Template("lost_give", 2, "a - b - c",
        "{name} had {a} {things}, lost {b} of them and gave {c} to {other}. How many {things} does {name} have left?"),
    Template("more_than", 2, "a + a + b",
        "{name} has {a} {things}. {other} has {b} more than {name}. How many {things} do they have together?"),
    Template("boxes_buy_give", 3, "a*b + c - d",
        "{name} has {a} boxes with {b} {things} in each box, buys {c} more {things} and gives {d} to {other}. "
        "How many {things} does {name} have now?"),
    Template("two_boxes", 3, "a*b + c*d",
        "{name} has {a} big boxes with {b} {things} in each and {c} small boxes with {d} {things} in each. "
        "How many {things} does {name} have in total?"),
    Template("three_give", 3, "a + b + c - d",
        "{name} has {a} {things}, {other} has {b} and {third} has {c}. Together they give away {d}. "
        "How many {things} do they have left?"),
    Template("boxes_lost_give", 3, "a*b - c - d",
        "{name} buys {a} bags with {b} {things} in each bag, loses {c} {things} and gives {d} to {other}. "
        "How many {things} does {name} have left?"),
)  # fmt: skip
"""The templates of the train, gate and report sets."""

HELD_OUT = (
    Template("sells", 1, "a - b",
        "A market stall starts the day with {a} {things} and sells {b}. How many {things} remain?"),
    Template("joins", 1, "a + b",
        "{a} children are playing in the park. Then {b} more children join them. How many children are playing?"),
    Template("days", 1, "a*b",
        "{name} collects {b} {things} every day for {a} days. How many {things} does {name} collect?"),
    Template("parking", 1, "a - b",
        "{a} cars are parked in the street. Then {b} of them drive off. How many cars are still there?"),
    Template("pages", 1, "a + b",
        "{name} reads {a} pages on Saturday and {b} pages on Sunday. How many pages is that?"),
    Template("tickets", 1, "a*b",
        "{name} buys {a} tickets. Each ticket costs {b} dollars. How many dollars does {name} pay?"),
    Template("candles", 1, "a - b",
        "{a} candles are burning on a cake. {name} blows out {b} of them. How many candles are still burning?"),
    Template("chairs", 1, "a*b",
        "There are {a} rows of chairs in the hall. Every row has {b} chairs. How many chairs are in the hall?"),
    Template("bus", 2, "a + b - c",
        "A train leaves with {a} passengers. At the next stop {b} people get on and {c} get off. "
        "How many passengers are on the train?"),
    Template("days_sells", 2, "a*b - c",
        "A baker makes {b} cakes every day for {a} days and sells {c} of them. How many cakes are not sold?"),
    Template("tank", 2, "a + b + c",
        "There are {a} litres in a water tank. The rain adds {b} litres on Monday and {c} litres on Tuesday. "
        "How many litres are in the tank then?"),
    Template("cinema", 2, "a*b - c",
        "A cinema has {a} rows with {b} seats in each row. Tonight {c} seats are taken. How many seats are free?"),
    Template("flock", 2, "a + b - c",
        "A farmer keeps {a} sheep. In spring {b} lambs are born, and in autumn {c} animals are sold. "
        "How many animals does the farmer keep?"),
    Template("savings", 2, "a*b + c",
        "{name} saves {b} dollars a week for {a} weeks and is given {c} dollars by {other}. "
        "How many dollars does {name} have then?"),
    Template("watering", 2, "a - b - c",
        "A barrel holds {a} litres of water. {name} pours {b} litres on the roses and {c} litres on the tomatoes. "
        "How many litres stay in the barrel?"),
    Template("towers", 2, "a + a + b",
        "One tower is built of {a} blocks. The other tower takes {b} blocks more. "
        "How many blocks are needed for both towers?"),
    Template("garden", 3, "a*b + c*d",
        "A garden has {a} rows of {b} roses and {c} rows of {d} tulips. How many flowers are in the garden?"),
    Template("library", 3, "a + b + c - d",
        "A library buys {a} books in May, {b} in June and {c} in July, and throws away {d} old ones. "
        "By how many books has it grown?"),
    Template("rolls", 3, "a*b + c - d",
        "A baker bakes {a} trays with {b} rolls on each tray. There are {c} rolls from yesterday, and {d} rolls are "
        "sold. How many rolls are left?"),
    Template("hotel", 3, "a*b - c - d",
        "A hotel has {a} floors with {b} rooms on each floor. Guests stay in {c} rooms, and {d} rooms are being "
        "painted. How many rooms are free?"),
    Template("trip", 3, "a*b + c*d",
        "A school hires {a} buses with {b} seats each and {c} vans with {d} seats each. How many seats is that?"),
    Template("ferry", 3, "a + b + c - d",
        "A ferry takes on {a} cars at the first port, {b} at the second and {c} at the third. At the island {d} cars "
        "leave. How many cars are on the ferry then?"),
    Template("wages", 3, "a*b + c + d",
        "{name} works {a} hours for {b} dollars an hour. There are {c} dollars of tips, and {other} pays back {d} "
        "dollars. How many dollars does {name} get?"),
    Template("bottles", 3, "a*b - c*d",
        "A dairy fills {a} crates with {b} bottles each and sends out {c} boxes with {d} bottles each. "
        "How many bottles stay at the dairy?"),
)  # fmt: skip
"""The templates of the guard set, eight a level: what a template adds or takes is then a small part of the set."""
