"""Search: a task attempted by growing a tree of partial solutions, many trees at once on one served engine.

`searcher` is the sampler block that grows one tree; what it is made of are blocks of axes of their own: which node to
grow next (`select`), how (`expand`), what a node is worth (`value`), and what its ancestors make of that (`backup`).
Concurrency, journals and retries are the sampling runner's and the client's. What training data a tree becomes is
`curation`'s business.
"""
