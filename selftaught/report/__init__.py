"""The HTML report of a round. `data` is its contract, `page` renders and writes it."""
