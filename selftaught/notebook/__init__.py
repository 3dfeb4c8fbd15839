"""A model to work with in a notebook or a script: sample tasks, search, verify, and look at what came out.

    from selftaught.notebook import open_model, table
    from selftaught.testing import sums

    with open_model("smollm2-135m-instruct") as model:
        groups = model.sample(sums(), {"type": "iid", "k": 4})
        groups = model.verify(groups, {"type": "answer_match"})
    print(*table(groups), sep="\\n")

Blocks are written as in a recipe, or given as objects. Calls wait for their result, also where an event loop runs, as
in Jupyter. Nothing is registered, recorded or promoted here: `selftaught.campaign` runs rounds.
"""

from selftaught.notebook.model import Model, open_model
from selftaught.notebook.table import table

__all__ = ["Model", "open_model", "table"]
