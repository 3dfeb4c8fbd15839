"""The InferenceService of a version, as a manifest; everything that all versions share is in their ServingRuntime.

It is built with the SDK's types, so that its spelling is checked. Who creates it, the platform or a controller that
follows a repository, is not decided here.
"""

from typing import Any, cast

from selftaught.cluster.naming import DIGEST, LINE, MANAGED, version_name
from selftaught.serving.kserve.scaling import by_requests
from selftaught.settings import Settings
from selftaught.state import weights

GROUP, VERSION = "serving.kserve.io", "v1beta1"


def inference_service(settings: Settings, uri: str, line: str, digest: str) -> Any:
    """The manifest of the version `digest` of `line`, whose weights lie at `uri`."""
    import kserve
    from kubernetes import client

    service = kserve.V1beta1InferenceService(
        api_version=f"{GROUP}/{VERSION}",
        kind="InferenceService",
        metadata=client.V1ObjectMeta(
            name=version_name(line, digest),
            labels={LINE: line, **MANAGED},
            annotations={
                DIGEST: digest,
                f"{GROUP}/deploymentMode": "Standard",
                f"{GROUP}/autoscalerClass": "keda" if _scaled(settings) else "none",
                # A changed runtime is for the versions after it, and for those that are not up yet.
                f"{GROUP}/disable-auto-update": "true",
            },
        ),
        spec=kserve.V1beta1InferenceServiceSpec(predictor=_predictor(settings, uri, line, digest)),
    )
    return cast(Any, client.ApiClient()).sanitize_for_serialization(service)


def _predictor(settings: Settings, uri: str, line: str, digest: str) -> Any:
    import kserve
    from kubernetes import client

    name = version_name(line, digest)
    model = kserve.V1beta1ModelSpec(
        model_format=kserve.V1beta1ModelFormat(name="selftaught"),
        runtime=settings.runtime,
        storage_uri=uri,
        args=["--served-model-name", name, line],
        env=[client.V1EnvVar(name=weights.DIGEST, value=digest)],
    )
    return kserve.V1beta1PredictorSpec(
        model=model,
        service_account_name=settings.engine_account,
        min_replicas=settings.replicas,
        max_replicas=max(settings.replicas, settings.max_replicas),
        auto_scaling=by_requests(name, settings.namespace, settings) if _scaled(settings) else None,
        termination_grace_period_seconds=settings.termination_grace,
    )


def _scaled(settings: Settings) -> bool:
    return settings.max_replicas > settings.replicas
