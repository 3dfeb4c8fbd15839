"""One branch of a git repository on a server: the files of its newest commit, and commits on top of it.

Nothing is kept between two calls: each fetches the newest commit, without the history behind it, into a folder that
goes again. That costs a second and the repository's size, compressed; merging is never needed. A push is refused when
the branch is not what was fetched any more: then the newer commit is fetched, and the change is recreated on top of it,
so that nobody's commit is lost, and history is never rewritten.

Over http(s) alone, with a user name and a token from the environment. dulwich speaks the protocol, because the images
have no git. Commits are not signed.
"""

import os
import re
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import stamina

from selftaught.core.errors import Away, BadInput, Unavailable
from selftaught.core.trust import distrusted

if TYPE_CHECKING:
    from dulwich.client import GitClient
    from dulwich.objects import Commit, ObjectID
    from dulwich.refs import Ref
    from dulwich.repo import Repo

CREDENTIALS = ("GIT_USERNAME", "GIT_PASSWORD")
"""The environment variables of the user name and the token (or password)."""
_PLACE = "GIT_USERNAME and GIT_PASSWORD (on a cluster: the Secret selftaught-git)"
TIMEOUT = 30.0
"""Seconds without an answer after which the server counts as silent."""
_URL = re.compile(r"https?://[^@/]+/.+")
_FILE = 0o100644


@dataclass(frozen=True, slots=True)
class Proposal:
    """A commit to be made: its message, and the text of every file that changes (None: the file goes)."""

    message: str
    files: Mapping[str, str | None]


class Head:
    """The newest commit of a branch, fetched without its history."""

    def __init__(self, repo: "Repo", commit: "Commit") -> None:
        self.repo, self._commit = repo, commit

    @property
    def id(self) -> "ObjectID":
        """The commit's id."""
        return self._commit.id

    def has(self, folder: str) -> bool:
        """Whether there is such a folder."""
        return self._find(folder) is not None

    def read(self, path: str) -> str | None:
        """The file's text, or None when there is no such file."""
        found = self._find(path)
        return None if found is None else self.repo[found].as_raw_string().decode()

    def _find(self, path: str) -> "ObjectID | None":
        from dulwich.object_store import tree_lookup_path

        try:
            return tree_lookup_path(self.repo.__getitem__, self._commit.tree, path.encode())[1]
        except KeyError:
            return None

    def grown(self, proposal: Proposal, author: str) -> "ObjectID":
        """The commit that `proposal` makes on top of this one, not pushed yet."""
        from dulwich.object_store import commit_tree_changes
        from dulwich.objects import Commit

        commit, store = Commit(), self.repo.object_store
        commit.tree = commit_tree_changes(store, self._commit.tree, list(self._changes(proposal.files)))
        commit.parents = [self.id]
        commit.author = commit.committer = author.encode()
        commit.author_time = commit.commit_time = int(time.time())
        commit.author_timezone = commit.commit_timezone = 0
        commit.encoding = b"UTF-8"
        commit.message = proposal.message.encode()
        store.add_object(commit)
        return commit.id

    def _changes(self, files: Mapping[str, str | None]) -> "Iterable[tuple[bytes, int | None, ObjectID | None]]":
        from dulwich.objects import Blob

        for path, text in files.items():
            if text is None:
                yield path.encode(), None, None
            else:
                blob = Blob.from_string(text.encode())
                self.repo.object_store.add_object(blob)
                yield path.encode(), _FILE, blob.id


@dataclass(frozen=True, slots=True)
class Repository:
    """A branch by its repository's URL; `author` (`Name <mail>`) is whose commits these are."""

    url: str
    branch: str
    author: str

    @contextmanager
    def head(self) -> Generator[Head]:
        """The newest commit.

        Raises BadInput when the URL, the branch or the credentials are wrong, Unavailable without an answer.
        """
        from dulwich.repo import Repo

        with TemporaryDirectory() as folder, closing(Repo.init_bare(folder)) as repo:
            yield Head(repo, cast("Commit", repo[self._fetch(repo)]))

    @stamina.retry(on=Unavailable, attempts=8, timeout=60)
    def commit(self, propose: Callable[[Head], Proposal | None]) -> str:
        """Push the one commit that `propose` makes of the newest one; none when it gives None. Returns the newest's id.

        `propose` is asked again when others pushed meanwhile, or when the push broke off: it may have arrived. Raises
        as `head` does, and Unavailable when the server refuses the commit.
        """
        with self.head() as head:
            proposal = propose(head)
            return (head.id if proposal is None else self._push(head, head.grown(proposal, self.author))).decode()

    def _fetch(self, repo: "Repo") -> "ObjectID":
        def wanted(refs: "Mapping[Ref, ObjectID]", depth: int | None = None) -> "list[ObjectID]":
            return [refs[self._ref]] if self._ref in refs else []

        with self._connection() as client:
            there = client.fetch("", repo, wanted, depth=1, ref_prefix=[self._ref]).refs.get(self._ref)
        if there is None:
            raise BadInput(f"{self.url}: no branch '{self.branch}'. Make it, or set SELFTAUGHT_GIT_BRANCH.")
        return there

    def _push(self, head: Head, commit: "ObjectID") -> "ObjectID":
        """Advance the branch from `head` to `commit`: the server gets both, and compares."""

        def moved(refs: "Mapping[Ref, ObjectID]") -> "dict[Ref, ObjectID]":
            if refs.get(self._ref) != head.id:
                raise self._refused("others push to it all the time")
            return {self._ref: commit}

        with self._connection() as client:
            status = client.send_pack(b"", moved, cast(Any, head.repo.generate_pack_data)).ref_status or {}
        if refusal := status.get(self._ref):
            raise self._refused(refusal)
        return commit

    def _refused(self, why: str) -> Unavailable:
        return Unavailable(
            f"{self.url}: branch '{self.branch}' does not take the commit ({why}). "
            "May this account push to it? Then try again later."
        )

    @property
    def _ref(self) -> "Ref":
        from dulwich.refs import Ref

        return Ref(b"refs/heads/" + self.branch.encode())

    @contextmanager
    def _connection(self) -> "Generator[GitClient]":
        """A client of the repository's server; what goes wrong in the block is said in words."""
        from dulwich.client import HttpGitClient, HTTPUnauthorized
        from dulwich.errors import GitProtocolError, NotGitRepository
        from urllib3.exceptions import HTTPError

        if not _URL.fullmatch(self.url):  # not quoted: a token may be in it
            raise BadInput(
                "SELFTAUGHT_GIT_URL: has to be https://host/path, a user name and a token not in it "
                f"but in {' and '.join(CREDENTIALS)}."
            )
        username, password = (os.environ.get(name) for name in CREDENTIALS)
        try:
            yield HttpGitClient(self.url, username=username, password=password, timeout=TIMEOUT)
        except HTTPUnauthorized:
            raise BadInput(f"{self.url}: refuses the credentials. Correct {_PLACE}.") from None
        except NotGitRepository:
            raise BadInput(
                f"{self.url}: no repository there that this account may see. Correct SELFTAUGHT_GIT_URL or {_PLACE}."
            ) from None
        except (GitProtocolError, HTTPError) as error:
            if " 403 " in str(error):
                raise BadInput(f"{self.url}: this account may not do that. Give {_PLACE} the right to push.") from None
            if why := distrusted(error):
                raise BadInput(
                    f"{self.url}: its certificate is not accepted ({why}). Name the file of the authority that signed "
                    "it in SSL_CERT_FILE."
                ) from None
            raise Away(f"{self.url}: no answer of a git server ({error}). Try again later.") from None
