"""Block fields: nested settings are listed behind their field, however deep they are."""

from pydantic import BaseModel

from selftaught.blocks import Verifier
from selftaught.cli.block_fields import fields


class Inner(BaseModel):
    weight: float = 1.0
    children: "list[Inner]" = []


class Nesting(Verifier):
    inner: Inner = Inner()

    async def verify(self, group, context): ...


def test_settings_that_hold_themselves_are_listed_once():
    names = [field.name for field in fields(Nesting)]
    assert [name for name in names if name.startswith("inner")] == ["inner", "inner.weight", "inner.children"]
