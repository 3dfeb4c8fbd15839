{{/* Labels of every object. Argument: a dict with `root` and `component`. */}}
{{- define "selftaught.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: selftaught
{{ include "selftaught.selector" . }}
{{- end }}

{{- define "selftaught.selector" -}}
app.kubernetes.io/name: selftaught
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* An image's reference. Argument: a dict with `root` and `image`. */}}
{{- define "selftaught.image" -}}
{{- $repository := .image.repository -}}
{{- $host := first (splitList "/" $repository) -}}
{{- $named := and (contains "/" $repository) (or (contains "." $host) (contains ":" $host) (eq $host "localhost")) -}}
{{- if not $named -}}
{{- $repository = printf "%s/%s" .root.Values.images.registry $repository -}}
{{- end -}}
{{- if .image.digest -}}
{{ printf "%s@%s" $repository .image.digest }}
{{- else -}}
{{ printf "%s:%s" $repository .image.tag }}
{{- end -}}
{{- end }}

{{- define "selftaught.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* What Pod Security `restricted` asks for, and a root file system that nobody writes to. The user id is the image's
or the cluster's. */}}
{{- define "selftaught.podSecurity" -}}
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "selftaught.containerSecurity" -}}
runAsNonRoot: true
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/*
The namespaces that the platform works in, as a YAML list: the release's own, then the teams'. Each has `name` (empty
for the release's own), `namespace`, `store`, `s3Secret`,
`existingS3Secret`, `quota`, `limitRange`, `viewers`, `operators`, `schedulers`, `serviceAccounts`, `runner` and `create`.
*/}}
{{- define "selftaught.tenants" -}}
{{- $own := dict "name" "" "namespace" .Release.Namespace "create" false "quota" .Values.quota
  "limitRange" .Values.limitRange "viewers" .Values.rbac.viewers "operators" .Values.rbac.operators
  "schedulers" .Values.rbac.schedulers
  "serviceAccounts" .Values.serviceAccounts "runner" .Values.kfp.runner "s3" .Values.s3 -}}
{{- $tenants := list (merge (include "selftaught.storage" (dict "root" . "s3" .Values.s3 "team" "") | fromYaml) $own) -}}
{{- range $team := .Values.teams -}}
{{- $namespace := default (printf "selftaught-%s" $team.name) $team.namespace -}}
{{- $runner := merge (dict) (default (dict) $team.runner) (dict "namespace" $namespace "name" $.Values.kfp.runner.name) -}}
{{- $tenant := dict "name" $team.name "namespace" $namespace
  "create" (dig "createNamespace" true $team) "quota" (default (dict) $team.quota)
  "limitRange" (mergeOverwrite (deepCopy $.Values.limitRange) (default (dict) $team.limitRange))
  "viewers" (default (list) $team.viewers) "operators" (default (list) $team.operators)
  "schedulers" (default (list) $team.schedulers)
  "serviceAccounts" (mergeOverwrite (deepCopy $.Values.serviceAccounts) (default (dict) $team.serviceAccounts))
  "runner" $runner -}}
{{- $storage := include "selftaught.storage" (dict "root" $ "s3" (default (dict) $team.s3) "team" $team.name) | fromYaml -}}
{{- $tenants = append $tenants (merge $storage $tenant) -}}
{{- end -}}
{{- toYaml $tenants -}}
{{- end }}

{{/* Where a tenant's data is, and the Secret that opens it (empty: the service accounts do). */}}
{{- define "selftaught.storage" -}}
{{- $values := .root.Values -}}
{{- $existing := default $values.s3.existingSecret .s3.existingSecret -}}
{{- $made := or $values.s3.accessKey $values.seaweedfs.enabled -}}
{{- $prefix := .s3.prefix | default (list $values.s3.prefix .team | compact | join "/") -}}
store: {{ printf "s3://%s/%s" (default $values.s3.bucket .s3.bucket) $prefix | trimSuffix "/" }}
s3Secret: {{ $existing | default (ternary "selftaught-s3" "" (not (empty $made))) | quote }}
existingS3Secret: {{ $existing | quote }}
{{- end }}

{{- define "selftaught.s3Endpoint" -}}
{{- if .Values.seaweedfs.enabled -}}
http://selftaught-s3.{{ .Release.Namespace }}.svc.cluster.local:8333
{{- else -}}
{{ .Values.s3.endpoint }}
{{- end -}}
{{- end }}

{{- define "selftaught.mlflowUri" -}}
{{- if .Values.mlflow.enabled -}}
http://selftaught-mlflow.{{ .Release.Namespace }}.svc.cluster.local:5000
{{- else -}}
{{ .Values.mlflow.trackingUri }}
{{- end -}}
{{- end }}

{{/* Settings and credentials as a container of ours takes them. Argument: a dict with `tenant` and `accounts`. */}}
{{- define "selftaught.envFrom" -}}
- configMapRef: {name: selftaught-settings}
{{- with .tenant.s3Secret }}
- secretRef: {name: {{ . }}}
{{- end }}
{{- range .accounts }}
- secretRef: {name: {{ . }}}
{{- end }}
{{- end }}

{{/* A random password, drawn once: the one in the Secret, where there is a Secret. Argument: namespace, secret, key. */}}
{{- define "selftaught.password" -}}
{{- $secret := lookup "v1" "Secret" .namespace .secret -}}
{{- $kept := dig "data" .key "" $secret -}}
{{- if $kept -}}{{ b64dec $kept }}{{- else -}}{{ randAlphaNum 32 }}{{- end -}}
{{- end }}

{{/* "yes" where this release has made an object before. Argument: root, kind, namespace, name. */}}
{{- define "selftaught.released" -}}
{{- $there := lookup "v1" .kind .namespace .name -}}
{{- $annotations := default (dict) (dig "metadata" "annotations" (dict) $there) -}}
{{- if eq (get $annotations "meta.helm.sh/release-name") .root.Release.Name -}}yes{{- end -}}
{{- end }}

{{/* A Secret that the release made and whose content is now somebody else's, as it is: an upgrade deletes what is not
rendered. Argument: root, namespace, name, component. */}}
{{- define "selftaught.handedOver" -}}
{{- if include "selftaught.released" (merge (dict "kind" "Secret") .) -}}
{{- $there := lookup "v1" "Secret" .namespace .name }}
---
apiVersion: v1
kind: Secret
metadata:
  name: {{ .name }}
  namespace: {{ .namespace }}
  labels: {{- include "selftaught.labels" (dict "root" .root "component" .component) | nindent 4 }}
  {{- with omit $there.metadata.annotations "meta.helm.sh/release-name" "meta.helm.sh/release-namespace" }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
data: {{- toYaml $there.data | nindent 2 }}
{{- end }}
{{- end }}

{{/* The namespaces that a tenant's Secrets and settings are put into: its own, and that of KFP's tasks. */}}
{{- define "selftaught.placesOf" -}}
{{- $places := list .tenant.namespace -}}
{{- if .root.Values.kfp.enabled -}}{{- $places = append $places .tenant.runner.namespace -}}{{- end -}}
{{- uniq $places | toYaml -}}
{{- end }}

{{/* What the schema cannot see, because it is between fields. */}}
{{- define "selftaught.check" -}}
{{- $v := .Values -}}
{{- if and $v.seaweedfs.enabled (or $v.s3.endpoint $v.s3.existingSecret) -}}
{{- fail "seaweedfs.enabled: the embedded S3 server excludes s3.endpoint and s3.existingSecret. Choose one." -}}
{{- end -}}
{{- if ne (empty $v.s3.accessKey) (empty $v.s3.secretKey) -}}
{{- fail "s3.accessKey and s3.secretKey go together: give both or neither." -}}
{{- end -}}
{{- if and $v.s3.accessKey $v.s3.existingSecret -}}
{{- fail "s3.existingSecret excludes s3.accessKey and s3.secretKey. Choose one." -}}
{{- end -}}
{{- if and (not $v.mlflow.enabled) (not $v.mlflow.trackingUri) -}}
{{- fail "mlflow.trackingUri: without mlflow.enabled it has to be the URL of an MLflow that you run." -}}
{{- end -}}
{{- if and (gt (int $v.mlflow.replicas) 1) (not $v.mlflow.database.existingSecret) -}}
{{- fail "mlflow.replicas: more than 1 needs mlflow.database.existingSecret, because SQLite is one Pod's." -}}
{{- end -}}
{{- if and (gt (int $v.mlflow.replicas) 1) (eq $v.mlflow.artifacts "volume") -}}
{{- fail "mlflow.replicas: more than 1 needs mlflow.artifacts: s3, because the volume is one Pod's." -}}
{{- end -}}
{{- $runtimes := dict "selftaught-vllm-cpu" "cpu" "selftaught-vllm-cuda" "cuda" "selftaught-value-server" "valueServer" -}}
{{- $runtime := get $runtimes $v.serving.runtime -}}
{{- if not (get $v.runtimes $runtime).enabled -}}
{{- fail (printf "serving.runtime: %s is switched off by runtimes.%s.enabled." $v.serving.runtime $runtime) -}}
{{- end -}}
{{- if and (eq $runtime "valueServer") (or $v.serving.autoscaling.enabled (eq $v.serving.route "gateway")) -}}
{{- fail "serving.runtime: selftaught-value-server has no /metrics, by which serving.autoscaling and route gateway go." -}}
{{- end -}}
{{- if eq $v.serving.route "gateway" -}}
{{- range $field := list "name" "url" "domain" -}}
{{- if not (get $v.serving.gateway $field) -}}
{{- fail (printf "serving.gateway.%s: serving.route: gateway needs it." $field) -}}
{{- end -}}
{{- end -}}
{{- if $v.serving.oneEngine -}}
{{- fail "serving.oneEngine leaves nothing to share out by steps: set serving.route to service." -}}
{{- end -}}
{{- end -}}
{{- if and $v.serving.oneEngine (or (gt (int $v.serving.replicas) 1) $v.serving.autoscaling.enabled) -}}
{{- fail "serving.oneEngine: room for one excludes serving.replicas above 1 and serving.autoscaling." -}}
{{- end -}}
{{- with $v.serving.autoscaling -}}
{{- if and .enabled (not .prometheus) -}}
{{- fail "serving.autoscaling.prometheus: KEDA needs the URL of the Prometheus that scrapes the engines." -}}
{{- end -}}
{{- if and .enabled (le (int .maxReplicas) (int $v.serving.replicas)) -}}
{{- fail "serving.autoscaling.maxReplicas: has to be above serving.replicas." -}}
{{- end -}}
{{- end -}}
{{- if and (eq $v.serving.route "git") (not $v.serving.git.url) -}}
{{- fail "serving.git.url: serving.route git needs the repository that commits go to." -}}
{{- end -}}
{{- if and (eq $v.serving.route "git") $v.serving.oneEngine -}}
{{- fail "serving.oneEngine excludes serving.route git: the controller starts again what was stopped to make room." -}}
{{- end -}}
{{- $namespaces := list -}}
{{- $places := list -}}
{{- $names := list "" -}}
{{- range $tenant := include "selftaught.tenants" . | fromYamlArray -}}
{{- if has $tenant.namespace $namespaces -}}
{{- fail (printf "teams: %s is the namespace of two of them, or the release's own." $tenant.namespace) -}}
{{- end -}}
{{- $namespaces = append $namespaces $tenant.namespace -}}
{{- $names = append $names $tenant.name -}}
{{- range include "selftaught.placesOf" (dict "root" $ "tenant" $tenant) | fromYamlArray -}}
{{- if has . $places -}}
{{- fail (printf "teams: the tasks of %s and of others run in the namespace %s, where settings have one name. Give it another runner.namespace." (default "the release" $tenant.name) .) -}}
{{- end -}}
{{- $places = append $places . -}}
{{- end -}}
{{- if and $v.kfp.multiUser (eq $tenant.runner.namespace $v.kfp.namespace) -}}
{{- fail (printf "kfp.multiUser: runs are made in a profile, and %s is where KFP itself runs. Give runner.namespace the profile's." $v.kfp.namespace) -}}
{{- end -}}
{{- end -}}
{{- if and $v.kfp.enabled (not $v.kfp.multiUser) -}}
{{- range $tenant := include "selftaught.tenants" . | fromYamlArray -}}
{{- if and $tenant.name (ne $tenant.runner.namespace $v.kfp.namespace) -}}
{{- fail (printf "teams.%s: Kubeflow Pipelines for a single user runs everybody's tasks in %s, with the release's credentials. Set kfp.multiUser where KFP has profiles, or install a release for each team." $tenant.name $v.kfp.namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $before := 0.0 -}}
{{- range $v.serving.canary.steps -}}
{{- if le (float64 .) $before -}}
{{- fail (printf "serving.canary.steps: %v after %v. Each step has to be more than the one before." . $before) -}}
{{- end -}}
{{- $before = float64 . -}}
{{- end -}}
{{- $cronjobs := list "upkeep-reconcile" -}}
{{- range $v.schedules -}}
{{- range $name := list .name (ternary (printf "%s-watch" .name) "" (not (empty .watch))) | compact -}}
{{- if or (has $name $cronjobs) (hasPrefix "upkeep-" $name) -}}
{{- fail (printf "schedules.%s: the CronJob selftaught-%s is another's. Give it another name." $name $name) -}}
{{- end -}}
{{- $cronjobs = append $cronjobs $name -}}
{{- end -}}
{{- if not (has (default "" .team) $names) -}}
{{- fail (printf "schedules.%s.team: %s is not one of teams." .name .team) -}}
{{- end -}}
{{- if eq (empty .recipe) (empty .recipeConfigMap) -}}
{{- fail (printf "schedules.%s: give recipe or recipeConfigMap, not both." .name) -}}
{{- end -}}
{{- end -}}
{{- end }}
