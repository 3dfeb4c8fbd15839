#!/usr/bin/env bash
# The complete platform on this machine: a kind cluster with cert-manager, KServe, Kubeflow Pipelines and the chart.
# What is there already is left or brought up to date, so after a failure run it again.
#
#   IMAGES="steps trainer engine"   the images to load, and to build where they are missing; all four if not given
set -euo pipefail

CERT_MANAGER=v1.19.2 # KServe 0.21 asks for 1.15 or later
KFP=2.17.0
# KServe's version is in kserve/kustomization.yaml, that of Kubernetes in cluster.yaml.

NAME=selftaught
NAMESPACE=selftaught
VERSION=0.1.0
read -ra IMAGES <<<"${IMAGES:-steps trainer engine value-server}"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

main() {
    check_tools
    make_cluster
    load_images
    install_cert_manager
    install_kserve
    install_kfp
    install_platform
    next_step
}

say() { printf '\n== %s\n' "$*"; }

# Never another cluster than this one, whatever the current context is.
k() { kubectl --context "kind-$NAME" "$@"; }
h() { helm --kube-context "kind-$NAME" "$@"; }

# Webhooks answer seconds after their Pods are ready, and a kind is known seconds after its definition.
again() {
    local attempt
    for attempt in 1 2 3 4 5 6; do
        "$@" && return
        echo "attempt $attempt failed; again in 10 s" >&2
        sleep 10
    done
    "$@"
}

check_tools() {
    local missing=() tool
    for tool in docker kind kubectl helm git; do
        command -v "$tool" >/dev/null || missing+=("$tool")
    done
    if ((${#missing[@]})); then
        echo "up.sh: not on PATH: ${missing[*]}. README.md says where they come from." >&2
        exit 2
    fi
    if ! docker info >/dev/null 2>&1; then
        echo "up.sh: no Docker daemon answers. Start it, or see to it that you may use it." >&2
        exit 2
    fi
}

make_cluster() {
    say "cluster $NAME"
    if kind get clusters 2>/dev/null | grep -qx "$NAME"; then
        echo "is there"
    else
        kind create cluster --config "$here/cluster.yaml" --wait 5m
    fi
    k wait --for=condition=Ready node --all --timeout=5m
}

load_images() {
    say "images"
    local image tag tags=()
    for image in "${IMAGES[@]}"; do
        tag="localhost/selftaught/$image:$VERSION"
        tags+=("$tag")
        if ! docker image inspect "$tag" >/dev/null 2>&1; then
            docker build --tag "$tag" --file "$root/components/images/Containerfile" --target "$image" "$root"
        fi
    done
    # In one call, so that layers that images share travel once.
    kind load docker-image --name "$NAME" "${tags[@]}"
}

install_cert_manager() {
    say "cert-manager $CERT_MANAGER"
    k apply -f "https://github.com/cert-manager/cert-manager/releases/download/$CERT_MANAGER/cert-manager.yaml"
    k -n cert-manager wait --for=condition=Available deployment --all --timeout=5m
}

install_kserve() {
    say "KServe, Standard mode"
    k create namespace kserve --dry-run=client -o yaml | k apply -f -
    kubectl kustomize "$here/kserve" >"$scratch/kserve.yaml"
    # The definitions are larger than what a client-side apply can note in an annotation.
    again k apply --server-side --force-conflicts -f "$scratch/kserve.yaml"
    k -n kserve wait --for=condition=Available deployment/kserve-controller-manager --timeout=10m
}

install_kfp() {
    say "Kubeflow Pipelines $KFP"
    # Fetched by git; the repository is large and kustomize would give up after 27 s.
    local manifests="github.com/kubeflow/pipelines/manifests/kustomize" at="ref=$KFP&timeout=300s"
    k apply -k "$manifests/cluster-scoped-resources?$at"
    k wait --for=condition=Established crd/applications.app.k8s.io --timeout=2m
    again k apply -k "$manifests/env/platform-agnostic?$at"
    k apply -f "$here/kfp-launcher.yaml"
    k -n kubeflow wait --for=condition=Available --timeout=15m deployment/ml-pipeline deployment/workflow-controller \
        deployment/ml-pipeline-persistenceagent deployment/ml-pipeline-scheduledworkflow
}

install_platform() {
    say "the chart"
    k create namespace "$NAMESPACE" --dry-run=client -o yaml | k apply -f -
    k label --overwrite namespace "$NAMESPACE" pod-security.kubernetes.io/enforce=restricted
    h upgrade --install selftaught "$root/charts/selftaught" --namespace "$NAMESPACE" \
        --values "$root/charts/selftaught/values-dev.yaml" --values "$here/values.yaml" --wait --timeout 10m
    h test selftaught --namespace "$NAMESPACE" --timeout 5m
}

next_step() {
    cat <<EOF

The platform is up. Its pages, each in a terminal of its own:

  kubectl --context kind-$NAME -n kubeflow port-forward service/ml-pipeline-ui 8080:80      http://localhost:8080
  kubectl --context kind-$NAME -n $NAMESPACE port-forward service/selftaught-mlflow 5000     http://localhost:5000

Begin a line and run its first round: docs/operations.md. Take all of it away: infra/kind/down.sh
EOF
}

main
