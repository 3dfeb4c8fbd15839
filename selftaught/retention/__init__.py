"""Retention: what is kept how long, and the removal of the rest. Never of a champion's lineage.

`policy` has the ages, `inventory` what there is, `survey` reads it, `lineage` says what is needed and `planning` what
goes (pure functions), `collecting` acts.
"""
