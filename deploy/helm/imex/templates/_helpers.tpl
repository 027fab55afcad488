{{- define "imex.labels" -}}
app.kubernetes.io/name: imex
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- define "imex.selector" -}}
app.kubernetes.io/name: imex
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- define "imex.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "imex.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "imex.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* A variable from a key of a secret: name, secret, key. */}}
{{- define "imex.secretEnv" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}
{{- end }}

{{/* What every service is told alike. */}}
{{- define "imex.sharedEnv" -}}
- {name: IMEX_KAFKA_BOOTSTRAP, value: {{ .Values.kafka.bootstrap | quote }}}
- {name: IMEX_KAFKA_MECHANISM, value: {{ .Values.kafka.mechanism | quote }}}
{{- if .Values.kafka.tls.secret }}
- {name: IMEX_KAFKA_TLS_CA, value: /etc/imex/kafka/ca.crt}
{{- end }}
- {name: IMEX_S3_ENDPOINT, value: {{ .Values.s3.endpoint | quote }}}
- {name: IMEX_S3_BUCKET, value: {{ .Values.s3.bucket | quote }}}
- {name: IMEX_S3_DIRECTORY_BUCKET, value: {{ .Values.s3.directoryBucket | quote }}}
- {name: IMEX_S3_REGION, value: {{ .Values.s3.region | quote }}}
- {name: IMEX_TRACES_EXPORTER, value: {{ .Values.traces.exporter | quote }}}
- {name: IMEX_TRACES_ENDPOINT, value: {{ .Values.traces.endpoint | quote }}}
{{- end }}

{{/* JSON: each other service to the URL of its readiness, for the portal's page "Network". */}}
{{- define "imex.readiness" -}}
{{- $urls := dict -}}
{{- range $name, $service := .Values.services -}}
{{- if not $service.portal -}}
{{- $_ := set $urls $name (printf "http://%s-%s:8081/ready" $.Release.Name $name) -}}
{{- end -}}
{{- end -}}
{{- $urls | toJson -}}
{{- end }}
