{{/* An Ingress for a Service of ours. Call with root, component, given (values). */}}
{{- define "sluicegate.ingress" -}}
{{- if .given.enabled }}
{{- $name := printf "%s-%s" (include "sluicegate.name" .root) .component }}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ $name }}
  labels: {{- include "sluicegate.labels" . | nindent 4 }}
  {{- with .given.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with .given.className }}
  ingressClassName: {{ . }}
  {{- end }}
  rules:
    - host: {{ required (printf "%s.ingress.host is the address people use" .component) .given.host }}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: {{ $name }}
                port: {name: http}
  {{- with .given.tlsSecret }}
  tls:
    - {hosts: [{{ $.given.host }}], secretName: {{ . }}}
  {{- end }}
{{- end }}
{{- end -}}
