{{/* Names and labels. */}}
{{- define "sluicegate.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "sluicegate.selector" -}}
app.kubernetes.io/name: sluicegate
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "sluicegate.labels" -}}
{{ include "sluicegate.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "sluicegate.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "sluicegate.secret" -}}
{{ required "secrets.existingSecret is the name of the secret with database-url, master-key, client-key and admin-key: docs/deploy.md" .Values.secrets.existingSecret }}
{{- end -}}

{{/* One variable from the secret. Call with root, name, key; nothing where the key has no name. */}}
{{- define "sluicegate.secretEnv" -}}
{{- if .key }}
- name: {{ .name }}
  valueFrom:
    secretKeyRef: {name: {{ include "sluicegate.secret" .root }}, key: {{ .key }}}
{{- end }}
{{- end -}}

{{/* What every process of ours is told. */}}
{{- define "sluicegate.env" -}}
- {name: SLUICEGATE_HOME, value: /var/lib/sluicegate}
{{- include "sluicegate.secretEnv" (dict "root" . "name" "SLUICEGATE_DATABASE_URL" "key" (required "secrets.keys.databaseUrl" .Values.secrets.keys.databaseUrl)) }}
{{- include "sluicegate.secretEnv" (dict "root" . "name" "SLUICEGATE_MASTER_KEY" "key" (required "secrets.keys.masterKey" .Values.secrets.keys.masterKey)) }}
{{- end -}}

{{- define "sluicegate.settings" -}}
{{- range $name, $value := . }}
- {name: SLUICEGATE_{{ $name | upper }}, value: {{ ternary (printf "%.0f" $value) (toString $value) (and (kindIs "float64" $value) (eq (floor $value) $value)) | quote }}}
{{- end }}
{{- end -}}

{{/* `enableServiceLinks: false` is no nicety: a Service called sluicegate would set SLUICEGATE_PORT=tcp://... in every pod. */}}
{{- define "sluicegate.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "sluicegate.locked" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "sluicegate.engineUrl" -}}
{{- if and .Values.engine.enabled (gt (int .Values.engine.replicas) 1) -}}
dns+http://{{ include "sluicegate.name" . }}-engines:8000
{{- else if .Values.engine.enabled -}}
http://{{ include "sluicegate.name" . }}-engine:8000
{{- else -}}
{{ required "engine.url names the engine when engine.enabled is false" .Values.engine.url }}
{{- end -}}
{{- end -}}

{{- define "sluicegate.policyMap" -}}
{{- if .Values.policy.existingConfigMap }}{{ .Values.policy.existingConfigMap }}
{{- else if .Values.policy.inline }}{{ include "sluicegate.name" . }}-policy
{{- end }}
{{- end -}}

{{- define "sluicegate.guardsMap" -}}
{{- if .Values.guards.existingConfigMap }}{{ .Values.guards.existingConfigMap }}
{{- else if .Values.guards.inline }}{{ include "sluicegate.name" . }}-guards
{{- end }}
{{- end -}}
