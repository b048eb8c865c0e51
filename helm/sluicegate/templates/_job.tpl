{{/* The pod of a job of ours. Call with root, component, args, resources. */}}
{{- define "sluicegate.jobPod" -}}
metadata:
  labels: {{- include "sluicegate.labels" . | nindent 4 }}
spec:
  restartPolicy: OnFailure
  {{- include "sluicegate.pod" .root | nindent 2 }}
  containers:
    - name: {{ .component }}
      image: {{ include "sluicegate.image" .root }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args: {{ toJson .args }}
      env:
        {{- include "sluicegate.env" .root | nindent 8 }}
      securityContext: {{- include "sluicegate.locked" .root | nindent 8 }}
      resources: {{- toYaml .resources | nindent 8 }}
      volumeMounts:
        - {name: home, mountPath: /var/lib/sluicegate}
        - {name: tmp, mountPath: /tmp}
  volumes:
    - name: home
      emptyDir: {sizeLimit: 1Gi}
    - name: tmp
      emptyDir: {sizeLimit: 1Gi}
{{- end -}}
