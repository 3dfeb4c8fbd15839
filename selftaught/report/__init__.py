"""The HTML report: what one page shows as evidence of a round. `data` is its contract, `page` renders and writes it."""
