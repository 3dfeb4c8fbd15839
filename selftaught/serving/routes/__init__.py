"""Where users of a line are led, a way each: see `selftaught.serving.backend.Route`."""
