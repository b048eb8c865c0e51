{{/* vLLM, alone, or one node's share of it. Call with root, component: engine, or engine-worker for the nodes that listen to nobody. */}}
{{- define "sluicegate.enginePod" -}}
{{- $name := printf "%s-engine" (include "sluicegate.name" .root) }}
{{- $e := .root.Values.engine }}
{{- $nodes := int $e.nodes }}
{{- $worker := eq .component "engine-worker" }}
metadata:
  labels: {{- include "sluicegate.labels" . | nindent 4 }}
spec:
  serviceAccountName: {{ $name }}
  {{- include "sluicegate.pod" .root | nindent 2 }}
  terminationGracePeriodSeconds: {{ $e.graceS }}
  containers:
    - name: engine
      image: {{ $e.image.repository }}:{{ $e.image.tag }}
      imagePullPolicy: {{ $e.image.pullPolicy }}
      {{- if gt $nodes 1 }}
      command: [vllm, serve]
      args:
        - {{ $e.model }}
        - --distributed-executor-backend=mp
        - --pipeline-parallel-size={{ $nodes }}
        - --nnodes={{ $nodes }}
        - --node-rank=$(LWS_WORKER_INDEX)
        - --master-addr=$(LWS_LEADER_ADDRESS)
        {{- if $worker }}
        - --headless
        {{- end }}
      {{- else }}
      command: [python3, -m, vllm.entrypoints.openai.api_server]
      args:
        - --model={{ $e.model }}
      {{- end }}
        - --served-model-name={{ $e.servedName | default $e.model }}
        - --tensor-parallel-size={{ $e.tensorParallel }}
        - --port=8000
        {{- if $e.lora }}
        - --enable-lora
        - --lora-modules
        {{- range $adapter, $from := $e.lora }}
        - {{ printf "%s=%s" $adapter $from | quote }}
        {{- end }}
        {{- end }}
        {{- range $e.extraArgs }}
        - {{ . | quote }}
        {{- end }}
      env:
        - {name: HOME, value: /cache/home}
        - {name: USER, value: engine}
        - {name: HF_HOME, value: /cache/huggingface}
        - {name: VLLM_CACHE_ROOT, value: /cache/vllm}
        - {name: TRITON_CACHE_DIR, value: /cache/triton}
        - {name: TORCHINDUCTOR_CACHE_DIR, value: /cache/inductor}
        - {name: VLLM_NO_USAGE_STATS, value: "1"}
        {{- if $e.offline }}
        - {name: HF_HUB_OFFLINE, value: "1"}
        {{- end }}
        {{- include "sluicegate.secretEnv" (dict "root" .root "name" "VLLM_API_KEY" "key" .root.Values.secrets.keys.engineKey) | nindent 8 }}
        {{- include "sluicegate.secretEnv" (dict "root" .root "name" "HF_TOKEN" "key" .root.Values.secrets.keys.huggingFaceToken) | nindent 8 }}
        {{- range $key, $value := $e.env }}
        - {name: {{ $key }}, value: {{ $value | quote }}}
        {{- end }}
      {{- if not $worker }}
      ports:
        - {name: http, containerPort: 8000}
      startupProbe:
        httpGet: {path: /health, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: {{ mul $e.startupMinutes 6 }}
      livenessProbe:
        httpGet: {path: /health, port: http}
        periodSeconds: 10
        timeoutSeconds: 10
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /health, port: http}
        periodSeconds: 5
        timeoutSeconds: 5
      {{- end }}
      securityContext: {{- include "sluicegate.locked" .root | nindent 8 }}
      resources:
        requests:
          {{- toYaml $e.resources.requests | nindent 10 }}
        limits:
          {{- toYaml $e.resources.limits | nindent 10 }}
          {{- if $e.gpuResource }}
          {{ $e.gpuResource }}: {{ $e.tensorParallel | quote }}
          {{- end }}
      volumeMounts:
        - {name: cache, mountPath: /cache}
        - {name: tmp, mountPath: /tmp}
        - {name: shm, mountPath: /dev/shm}
  volumes:
    - name: cache
      persistentVolumeClaim: {claimName: {{ $e.cache.existingClaim | default (printf "%s-cache" $name) }}}
    - name: tmp
      emptyDir: {sizeLimit: 10Gi}
    - name: shm
      emptyDir: {medium: Memory, sizeLimit: {{ $e.sharedMemory }}}
  {{- with $e.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $e.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $e.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "sluicegate.engineNodes" -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/instance: {{ .Release.Name }}
    matchExpressions:
      - {key: app.kubernetes.io/component, operator: In, values: [engine, engine-worker]}
{{- end -}}
