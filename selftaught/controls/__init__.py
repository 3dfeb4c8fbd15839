"""Controls: how a stage adapts to what its earlier rounds have shown.

One block a file, each a `Control`: it sets the stage's fields, chooses training tasks, or ends the campaign, by a state
that it makes of what it observes. Where the state is kept is `selftaught.round.controls`'s business.
"""
