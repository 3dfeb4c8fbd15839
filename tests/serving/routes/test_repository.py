"""A branch on a git server: what is read is its newest commit, what is pushed loses nobody's work, errors say the fix.

Against git's own server.
"""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import stamina

from selftaught.core.errors import BadInput, SelftaughtError, Unavailable
from selftaught.serving.routes.repository import Head, Proposal, Repository
from tests.git_server import TOKEN, USERNAME, Bare, GitServer, git, git_server

AUTHOR = "Selftaught <selftaught@example.com>"


@pytest.fixture
def bare(tmp_path: Path) -> Bare:
    return Bare.made(tmp_path / "models.git")


@pytest.fixture
def server(bare: Bare, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitServer]:
    monkeypatch.setenv("GIT_USERNAME", USERNAME)
    monkeypatch.setenv("GIT_PASSWORD", TOKEN)
    with git_server(bare.folder.parent) as running:
        yield running


@pytest.fixture
def repository(server: GitServer) -> Repository:
    return Repository(f"{server.url}/models.git", "main", AUTHOR)


def adds(path: str, text: str = "text\n") -> Proposal:
    return Proposal(f"adds {path}\n", {path: text})


def test_a_commit_is_what_was_proposed_on_top_of_the_branch(repository: Repository, bare: Bare):
    before = bare.commits()
    new = repository.commit(lambda head: Proposal("line: Ü\n\nTo: x\n", {"lines/a/b.yaml": "ä\n", "README.md": None}))
    assert bare.commits() == ["line: Ü", *before]
    assert bare.files() == {"lines/README.md", "lines/a/b.yaml"}
    assert bare.read("lines/a/b.yaml") == "ä\n"
    written = git("log", "-1", "--format=%H|%an <%ae>|%cn <%ce>|%b", "main", at=bare.folder).strip()
    assert written == f"{new}|{AUTHOR}|{AUTHOR}|To: x"
    git("fsck", "--strict", at=bare.folder)


def test_nothing_proposed_is_nothing_pushed(repository: Repository, bare: Bare):
    before = git("rev-parse", "main", at=bare.folder).strip()
    assert repository.commit(lambda head: None) == before
    assert git("rev-parse", "main", at=bare.folder).strip() == before


def test_what_others_push_meanwhile_is_seen_and_kept(repository: Repository, bare: Bare):
    seen = []

    def propose(head: Head) -> Proposal:
        seen.append(head.read("theirs"))
        if len(seen) < 3:
            bare.write({"theirs": f"{len(seen)}\n"})
        return adds("ours")

    repository.commit(propose)
    assert seen == [None, "1\n", "2\n"]
    assert bare.commits()[:3] == ["adds ours", "by hand", "by hand"]
    assert bare.read("theirs") == "2\n"


def test_of_writers_who_race_nobodys_commit_is_lost(repository: Repository, bare: Bare):
    """Each adds a line of its own to one file that all share, so that a lost update shows."""
    before, failed = len(bare.commits()), []

    def append(who: int) -> None:
        def propose(head: Head) -> Proposal:
            return Proposal(f"{who}\n", {"shared": f"{head.read('shared') or ''}{who}\n"})

        try:
            for _ in range(3):
                repository.commit(propose)
        except SelftaughtError as error:
            failed.append(error)

    writers = [threading.Thread(target=append, args=(who,)) for who in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failed == []
    assert sorted(bare.read("shared").split()) == sorted(f"{who}" for who in range(3) for _ in range(3))
    assert len(bare.commits()) == before + 9
    assert git("rev-list", "--merges", "main", at=bare.folder) == ""


def test_a_push_whose_answer_was_lost_is_not_made_twice(repository: Repository, bare: Bare, server: GitServer):
    before, server.lost = len(bare.commits()), 1
    repository.commit(lambda head: adds("ours") if head.read("ours") is None else None)
    assert len(bare.commits()) == before + 1


def test_history_is_not_fetched(repository: Repository, bare: Bare):
    with repository.head() as head:
        (parent,) = head.repo[head.id].parents
        assert parent not in head.repo


# What is wrong is said ------------------------------------------------------------------------------------------------


def refusal(repository: Repository, kind: type[SelftaughtError]) -> str:
    with pytest.raises(kind) as error:
        repository.commit(lambda head: adds("ours"))
    assert TOKEN not in str(error.value)
    return str(error.value)


def test_an_unknown_branch(repository: Repository):
    assert "no branch 'prod'" in refusal(Repository(repository.url, "prod", AUTHOR), BadInput)


def test_no_repository(repository: Repository):
    gone = Repository(repository.url.replace("models", "none"), "main", AUTHOR)
    assert "no repository there" in refusal(gone, BadInput)


def test_a_wrong_token(repository: Repository, server: GitServer):
    server.token = "another"
    assert "GIT_PASSWORD" in refusal(repository, BadInput)


def test_a_token_that_may_read_alone(repository: Repository, bare: Bare):
    git("config", "http.receivepack", "false", at=bare.folder)
    assert "the right to push" in refusal(repository, BadInput)
    assert bare.commits()[0] == "by hand"


def test_a_protected_branch(repository: Repository, bare: Bare):
    hook = bare.folder / "hooks" / "update"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with stamina.set_testing(True, attempts=2):
        words = refusal(repository, Unavailable)
    assert "branch 'main' does not take the commit (hook declined)" in words


def test_nobody_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/models.git"
    with pytest.raises(Unavailable, match="no answer of a git server"), Repository(url, "main", AUTHOR).head():
        pass


@pytest.mark.parametrize("url", ["", f"https://ann:{TOKEN}@example.com/x", "git@example.com:x", "/example.com"])
def test_a_url_of_another_kind_is_refused_and_not_repeated(url: str):
    words = refusal(Repository(url, "main", AUTHOR), BadInput)
    assert words.startswith("SELFTAUGHT_GIT_URL: has to be https://host/path") and "example.com" not in words
