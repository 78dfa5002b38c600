{{/* Names, labels and the parts that every pod of this chart shares. */}}

{{- define "market-spine.labels" -}}
{{ include "market-spine.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* The jobLabel of the ServiceMonitor is app.kubernetes.io/name: the rules select on job="market-spine". */}}
{{- define "market-spine.selector" -}}
app.kubernetes.io/name: market-spine
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "market-spine.image" -}}
{{- $image := .Values.image -}}
{{- with $image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end }}

{{/* Hooks of the migration. A cluster made by this release exists only after its normal objects. */}}
{{- define "market-spine.migrationHook" -}}
{{ ternary "post-install,pre-upgrade" "pre-install,pre-upgrade" .Values.postgresqlCluster.enabled }}
{{- end }}

{{- define "market-spine.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "market-spine.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* One container: image, security, settings, the writable folders. Takes root, name, command, resources, keys, config. */}}
{{- define "market-spine.container" -}}
{{- $root := .root -}}
name: {{ .name }}
image: {{ include "market-spine.image" $root | quote }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
command: {{ toJson .command }}
securityContext:
  {{- include "market-spine.containerSecurity" $root | nindent 2 }}
{{- with .config }}
envFrom:
  - configMapRef: {name: {{ . }}}
  {{- if and $.landing $root.Values.landing.credentialsSecret }}
  - secretRef: {name: {{ $root.Values.landing.credentialsSecret }}, optional: true}
  {{- end }}
{{- end }}
{{- with .keys }}
env:
  {{- range . }}
  - name: {{ . }}
    valueFrom:
      secretKeyRef:
        name: {{ $root.Values.secrets.name }}
        key: {{ . }}
        {{- /* Without tokens the API is readable by all who reach it and refuses every write: a choice, not a mistake. */}}
        {{- if hasSuffix "_TOKENS" . }}
        optional: true
        {{- end }}
  {{- end }}
{{- end }}
resources:
  {{- toYaml .resources | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- if and .landing $root.Values.landing.claim }}
  - {name: landing, mountPath: {{ $root.Values.settings.MARKET_SPINE_LANDING }}, readOnly: true}
  {{- end }}
{{- end }}

{{- define "market-spine.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- if and .landing .root.Values.landing.claim }}
- name: landing
  persistentVolumeClaim: {claimName: {{ .root.Values.landing.claim }}, readOnly: true}
{{- end }}
{{- end }}

{{- define "market-spine.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "market-spine.settings" -}}
{{- range $name, $value := merge (dict) .Values.settings .Values.openTelemetry }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end }}

{{/* Parts of network policies. "peers" takes a list of peers and one of ports; without peers, any address. */}}
{{- define "market-spine.egress" -}}
- ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "market-spine.toPostgresql" -}}
{{- $postgresql := .Values.networkPolicies.postgresql -}}
{{- $to := $postgresql.to -}}
{{- if .Values.postgresqlCluster.enabled -}}
{{- $to = append $to (dict "podSelector" (dict "matchLabels" (dict "cnpg.io/cluster" .Values.postgresqlCluster.name))) -}}
{{- end -}}
{{ include "market-spine.egress" (dict "ports" (list $postgresql.port) "to" $to) }}
{{- end }}

{{- define "market-spine.toDns" -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
  {{- with .Values.networkPolicies.dns.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "market-spine.policyHead" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: market-spine-{{ .name }}
  labels:
    {{- include "market-spine.labels" .root | nindent 4 }}
{{- end }}

{{/* Pods of the two releases, as a podSelector. */}}
{{- define "market-spine.pod" -}}
matchLabels:
  {{- if has .pod (list "webserver" "daemon" "code-location" "run") }}
  {{- /* Set by ../dagster/base.yaml: the official chart's own labels differ from pod to pod, those of runs from Job to Job. */}}
  market-spine/role: {{ .pod }}
  {{- else }}
  {{- include "market-spine.selector" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .pod }}
  {{- end }}
{{- end }}
