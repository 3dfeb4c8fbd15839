"""Effects: what a system claims, the arms that put it to the test, and what was measured of them."""
