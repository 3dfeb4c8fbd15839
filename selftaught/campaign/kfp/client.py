"""The API of Kubeflow Pipelines: a client that reports refusals, lists page by page, and a line's experiment.

Authentication follows the KFP client: the service account token that Kubeflow mounts for its API
(KF_PIPELINES_SA_TOKEN_PATH, renewed by the kubelet), or by a token of another kind (KFP_EXISTING_TOKEN); a KFP with one
user asks for neither. What runs and versions are is `runner`'s and `versions`' business.
"""

import os
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from selftaught.core.errors import BadInput, Unavailable
from selftaught.settings import Settings

TOKEN_FILE, TOKEN = "KF_PIPELINES_SA_TOKEN_PATH", "KFP_EXISTING_TOKEN"
MOUNTED = "/var/run/secrets/kubeflow/pipelines/token"
"""Where Kubeflow mounts the token unless TOKEN_FILE says otherwise."""


@contextmanager
def kubeflow(settings: Settings) -> Generator[Any]:
    """A client of the settings' API. Raises BadInput for what it refuses, Unavailable while it is silent."""
    url = settings.kfp
    if not url:
        raise BadInput("SELFTAUGHT_KFP: not set. Set it to the URL of the Kubeflow Pipelines API.")
    import kfp
    import kfp_server_api
    from urllib3.exceptions import HTTPError

    refused = cast("type[Exception]", kfp_server_api.ApiException)
    namespace = settings.kfp_namespace or "kubeflow"  # which to the client says that there is one user
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # it is for version 2, it says each time
            client = kfp.Client(
                host=url, namespace=namespace, existing_token=os.environ.get(TOKEN), credentials=_credentials()
            )
        yield client
    except refused as error:
        words = " ".join(str(getattr(error, "body", None) or error).split())[:300]
        raise BadInput(f"{url}: Kubeflow Pipelines refuses it: {words}{_fix(error)}") from None
    except (HTTPError, ConnectionError, OSError) as error:
        raise Unavailable(f"{url}: Kubeflow Pipelines does not answer ({error}). Is SELFTAUGHT_KFP right?") from None


def experiment_of(client: Any, line: str) -> str:
    """The id of the line's experiment; empty where there is none yet."""
    named = f"selftaught/{line}"
    found = every(client.list_experiments, "experiments", namespace=client.get_user_namespace() or None)
    return next((str(each.experiment_id) for each in found if each.display_name == named), "")


def every(listing: Callable[..., Any], name: str, **which: Any) -> list[Any]:
    """Everything that `listing` gives, page after page."""
    found: list[Any] = []
    token = ""
    while True:
        page = listing(page_token=token, page_size=100, **which)
        found += getattr(page, name) or []
        token = page.next_page_token
        if not token:
            return found


def made_once(find: Callable[[], Any], make: Callable[[], Any]) -> Any:
    """What `find` finds, made where there is none; someone else may make it meanwhile, as KFP's names are unique."""
    import kfp_server_api

    if (found := find()) is not None:
        return found
    try:
        return make()
    except cast("type[Exception]", kfp_server_api.ApiException):
        if (found := find()) is None:
            raise
        return found


def bearer() -> str:
    """The token that a request carries now; empty where it carries none."""
    path = Path(os.environ.get(TOKEN_FILE, MOUNTED))
    return os.environ.get(TOKEN) or (path.read_text(encoding="utf-8").strip() if path.is_file() else "")


def _credentials() -> Any:
    """The mounted token, reread for each request; None where there is none. Raises BadInput where it is missing."""
    from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

    path = os.environ.get(TOKEN_FILE, MOUNTED)
    if Path(path).is_file():
        return ServiceAccountTokenVolumeCredentials(path)
    if TOKEN_FILE in os.environ:
        raise BadInput(f"{TOKEN_FILE}: {path}: no such file. Name the file of a token, or unset it.")
    return None


def _fix(refused: Any) -> str:
    if refused.status not in (401, 403):
        return ""
    return f". Give it a token by {TOKEN_FILE} or {TOKEN}, and the profile by SELFTAUGHT_KFP_NAMESPACE."
