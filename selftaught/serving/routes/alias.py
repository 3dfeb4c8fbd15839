"""No stable address: the registry's alias alone names the champion, as on one machine."""


class AliasAlone:
    """Implements `selftaught.serving.backend.Route` where there is nothing to move."""

    def recorded(self, line: str) -> str | None:
        """The alias is the truth."""
        return None

    def introduce(self, line: str, digest: str, champion: str | None) -> None:
        """Nobody is led anywhere."""

    def point(self, line: str, digest: str) -> None:
        """The alias is the pointer."""

    def retire(self, line: str, digest: str) -> None:
        """Nothing is kept."""
