"""The Kubernetes API for `doctor`: reads objects and reviews accounts' permissions. Read-only."""

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, cast

from selftaught.cluster.client import found, message_of
from selftaught.doctor.machine import Finding

SECONDS = 10
"""How long one answer may take."""
OLDEST = (1, 30)
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""What an object is, without what is in it: of a Secret nothing else is asked."""


class Api:
    """The API server behind a Kubernetes `client`. Raises its ApiException for what this account may not do."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def read(self, path: str, accept: str = "application/json") -> Any:
        """The object or list at `path`, or None where there is none."""
        return found(lambda: self._call(path, "GET", accept))

    def there(self, path: str) -> bool:
        """Whether there is an object at `path`; what is in it is not read."""
        return self.read(path, METADATA) is not None

    @cached_property
    def user(self) -> str:
        """Who this is; empty where the API server does not say (before Kubernetes 1.28)."""
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        review = found(lambda: self._call(path, "POST", body=body))
        return str(review["status"]["userInfo"]["username"]) if review else ""

    def may(self, account: str, namespace: str, group: str, resource: str, verb: str) -> bool | None:
        """Whether the service account `namespace:name` may; None where the API server itself cannot tell."""
        user = f"system:serviceaccount:{account}"
        spec: dict[str, Any] = {
            "resourceAttributes": {"namespace": namespace, "group": group, "resource": resource, "verb": verb}
        }
        if user == self.user:
            status = self._review("SelfSubjectAccessReview", "", spec)
        else:
            accounts = "system:serviceaccounts"
            groups = [accounts, f"{accounts}:{account.partition(':')[0]}", "system:authenticated"]
            spec |= {"user": user, "groups": groups}
            status = self._review("LocalSubjectAccessReview", namespace, spec)
        return None if status.get("evaluationError") and not status.get("allowed") else bool(status.get("allowed"))

    def _review(self, kind: str, namespace: str, spec: Mapping[str, Any]) -> Any:
        """The status of a review; one of a namespace's takes a right in that namespace alone."""
        where, metadata = (f"/namespaces/{namespace}", {"namespace": namespace}) if namespace else ("", {})
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec}
        return self._call(f"/apis/authorization.k8s.io/v1{where}/{kind.lower()}s", "POST", body=body)["status"]

    def _call(self, path: str, method: str, accept: str = "application/json", body: Mapping[str, Any] | None = None):
        return self._client.call_api(
            path,
            method,
            header_params={"Accept": accept, "Content-Type": "application/json"},
            body=body,
            response_type="object",
            auth_settings=["BearerToken"],
            _return_http_data_only=True,
            _request_timeout=SECONDS,
        )


def reached(api: Api) -> Finding:
    """Whether the API server answers, which version it is, and as whom it is asked."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    name, fix = "kubernetes", "set KUBECONFIG to a file that leads to the cluster, with an account that it knows"
    try:
        reply = api.read("/version")
        who = f", as {api.user}" if api.user else ""
    except ApiException as error:
        return Finding(name, False, f"the API server refuses this account ({message_of(error)})", fix)
    except HTTPError as error:
        return Finding(name, False, f"the API server does not answer ({error})", fix)
    version = (int(reply["major"]), int(reply["minor"].rstrip("+")))
    said = f"{reply['gitVersion']}{who}"
    return Finding(name, version >= OLDEST, f"{said} (needs 1.30 or later)", "upgrade the cluster to Kubernetes 1.30")


def looked(name: str, look: Callable[[], Finding]) -> Finding:
    """What `look` finds; not known where the API server refuses or does not answer."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        return look()
    except ApiException as error:
        words = message_of(error)
        if cast(Any, error).status == 403:
            return unknown(name, words, "give this account that right, or have somebody look who has it")
        return unknown(name, f"the API server says: {words}", "run it again; if it stays, look at the API server")
    except HTTPError as error:
        return unknown(name, f"the API server does not answer ({error})", "run it again")
    except (ValueError, re.error) as error:
        return unknown(name, f"what is stored there cannot be read ({error})", "fix that object")


def unknown(name: str, why: str, fix: str) -> Finding:
    """A finding that says nothing about the cluster but why it could not be checked."""
    return Finding(name, None, f"not known: {why}", fix)
