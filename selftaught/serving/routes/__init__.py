"""Routes: how users reach a line's champion, one module each; see `selftaught.serving.backend.Route`."""
