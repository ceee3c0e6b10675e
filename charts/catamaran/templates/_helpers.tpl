{{/* Names are cut so that the longest suffix fits into the 63 characters of a label. */}}
{{- define "catamaran.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 48 | trimSuffix "-" }}
{{- end }}

{{- define "catamaran.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 48 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 48 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Of objects without a namespace: two releases of one name may be in two namespaces. */}}
{{- define "catamaran.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "catamaran.fullname" .) }}
{{- end }}

{{- define "catamaran.runtimeClassName" -}}
{{- default .Values.handler .Values.runtimeClass.name }}
{{- end }}

{{/* These select: they stay the same for as long as the release lives. Takes root and component. */}}
{{- define "catamaran.selectorLabels" -}}
app.kubernetes.io/name: {{ include "catamaran.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Takes root, component and perhaps version and more, a value's labels. The chart's own win. */}}
{{- define "catamaran.labels" -}}
{{- $own := include "catamaran.selectorLabels" . | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/version" (default .root.Chart.AppVersion .version | replace "+" "_" | trunc 63 | trimAll "-_.") }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .root.Release.Service }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- merge $own (deepCopy (default dict .more)) (deepCopy (default dict .root.Values.commonLabels)) | toYaml }}
{{- end }}

{{/* The selector of the installer's pods, as one word. */}}
{{- define "catamaran.installerSelector" -}}
app.kubernetes.io/name={{ include "catamaran.name" . }},app.kubernetes.io/instance={{ .Release.Name }},app.kubernetes.io/component=installer
{{- end }}

{{/* Takes root and image, a value. */}}
{{- define "catamaran.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ default .root.Chart.AppVersion .image.tag }}
{{- end }}
{{- end }}

{{- define "catamaran.engines" -}}
{{- dig "allowed_engines" (list "wasmtime" "wasmer") .Values.options | toJson }}
{{- end }}

{{/* What the level "restricted" of the Pod Security Standards asks of a container, and a root file system that nobody writes to. */}}
{{- define "catamaran.restricted" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Where the labeller and the Job that uninstalls may run. */}}
{{- define "catamaran.labellerPlace" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.labeller.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.labeller.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.labeller.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if or .Values.labeller.startupTaint .Values.labeller.tolerations }}
tolerations:
  {{- with .Values.labeller.startupTaint }}
  # Where every node has it, nobody else would take it away.
  - key: {{ . }}
    operator: Exists
  {{- end }}
  {{- with .Values.labeller.tolerations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* The API server, which no selector can name, and the cluster's DNS. */}}
{{- define "catamaran.toApiServer" -}}
- ports:
    {{- range .Values.networkPolicy.apiServerPorts }}
    - protocol: TCP
      port: {{ int . }}
    {{- end }}
- ports:
    - protocol: UDP
      port: 53
    - protocol: TCP
      port: 53
{{- end }}
