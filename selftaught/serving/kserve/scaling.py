"""Autoscaling of a version on KServe by KEDA, by its requests in flight.

Counted are the requests that are answered and those that wait, of all the version's servers. Those that wait would not
do alone: there are none until a server's batch is full, and none again as soon as another server has taken them, so the
version would shrink and grow in turn. What it holds grows with the load, whoever answers it.

KServe makes the ScaledObject. Its own autoscaler (`hpa`) goes by CPU and memory alone, which say nothing of an engine's
queue. Prometheus is asked without credentials, and a version is never scaled to none: its next user would wait for it.
"""

from typing import Any

from selftaught.settings import Settings

REQUESTS = "vllm:num_requests_(running|waiting)"
"""vLLM's gauges; a request for several answers counts as so many."""


def by_requests(name: str, namespace: str, settings: Settings) -> Any:
    """The predictor's `autoScaling`: a server for each `requests_per_replica` that the version `name` holds."""
    import kserve

    # The first served name is the metrics' model_name, and no other version has it; the namespace is the scraper's.
    query = f'sum({{__name__=~"{REQUESTS}", namespace="{namespace}", model_name="{name}"}})'
    source = kserve.V1beta1ExternalMetricSource(
        metric=kserve.V1beta1ExternalMetrics(backend="prometheus", server_address=settings.prometheus, query=query),
        # KServe hands a `Value` on as KEDA's threshold, which is an average over the servers.
        target=kserve.V1beta1MetricTarget(type="Value", value=str(settings.requests_per_replica)),
    )
    return kserve.V1beta1AutoScalingSpec(metrics=[kserve.V1beta1MetricsSpec(type="External", external=source)])
