"""`python -m selftaught`: the command line."""

from selftaught.cli.main import app

if __name__ == "__main__":
    app()
