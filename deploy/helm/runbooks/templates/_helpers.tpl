{{/* Names and parts that every process has. */}}

{{- define "runbooks.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "runbooks.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "runbooks.labels" -}}
{{ include "runbooks.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "runbooks.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest }}{{ $image.repository }}@{{ $image.digest }}{{ else }}{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* What Pod Security's restricted level asks for, and a root file system that nobody writes. */}}
{{- define "runbooks.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "runbooks.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Variables of one process: where its database is, and the settings. */}}
{{- define "runbooks.env" -}}
- name: RUNBOOK_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .root.Values.database.secret }}
      key: {{ index .root.Values.database.keys .part }}
- name: RUNBOOK_HOME
  value: /var/lib/runbooks
{{- if .root.Values.params.files }}
- name: RUNBOOK_PARAMS
  value: /etc/runbooks/params
{{- end }}
{{- range $name, $value := .root.Values.settings }}
- name: {{ printf "RUNBOOK_%s" $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "runbooks.intakeToken" -}}
- name: RUNBOOK_INTAKE_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ .Values.intake.secret }}
      key: {{ .Values.intake.key }}
{{- end }}

{{/* The records are everybody's. What is kept beside them, and /tmp, are the pod's own: the home's .state is a link to the
     same place in every pod, with the pod's own volume behind it. */}}
{{- define "runbooks.mounts" -}}
- {name: home, mountPath: /var/lib/runbooks}
- {name: state, mountPath: /var/lib/runbooks-state}
- {name: tmp, mountPath: /tmp}
{{- if .Values.params.files }}
- {name: params, mountPath: /etc/runbooks/params, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "runbooks.volumes" -}}
- name: home
  persistentVolumeClaim:
    claimName: {{ .root.Values.home.existingClaim | default (printf "%s-home" (include "runbooks.name" .root)) }}
- name: tmp
  emptyDir: {sizeLimit: 4Gi}
- name: key-redaction
  secret:
    secretName: {{ .root.Values.keys.redaction.secret }}
    items: [{key: {{ .root.Values.keys.redaction.key | quote }}, path: redaction}]
{{- if ne .component "signer" }}
- name: state
  emptyDir: {sizeLimit: 1Gi}
{{- end }}
{{- if .root.Values.params.files }}
- name: params
  configMap:
    name: {{ include "runbooks.name" .root }}-params
    items:
{{- range $file, $_ := .root.Values.params.files }}
      - {key: {{ $file }}, path: {{ $file }}}
{{- end }}
{{- range $platform, $_ := .root.Values.params.platforms }}
      - {key: platform.{{ $platform }}.yaml, path: platforms/{{ $platform }}.yaml}
{{- end }}
{{- end }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Makes the pod's own state, with the shared key in it; all but the signer then wait for the key that it signs with. */}}
{{- define "runbooks.keysContainer" -}}
- name: keys
  image: {{ include "runbooks.image" .root }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [sh, -ec]
  args:
    - |
      umask 077
      mkdir -p /var/lib/runbooks-state/own/keys
      test -L /var/lib/runbooks/.state || ln -sT /var/lib/runbooks-state/own /var/lib/runbooks/.state || test -L /var/lib/runbooks/.state
      cp /run/keys/redaction/redaction /var/lib/runbooks-state/own/keys/redaction
{{- if eq .component "signer" }}
      cp /run/keys/signing/signing.pem /var/lib/runbooks-state/own/keys/signing.pem
{{- else }}
      until test -s /var/lib/runbooks/log/signer.pub; do sleep 1; done
{{- end }}
  resources:
    requests: {cpu: 10m, memory: 16Mi}
    limits: {memory: 64Mi}
  securityContext:
    {{- include "runbooks.containerSecurity" . | nindent 4 }}
  volumeMounts:
    {{- include "runbooks.mounts" .root | nindent 4 }}
    - {name: key-redaction, mountPath: /run/keys/redaction, readOnly: true}
{{- if eq .component "signer" }}
    - {name: key-signing, mountPath: /run/keys/signing, readOnly: true}
{{- end }}
{{- end }}

{{/* Probes of a process that has no port: it has to have told the store lately that it is alive. */}}
{{- define "runbooks.aliveProbes" -}}
startupProbe:
  exec: {command: [python, -m, opslib.alive, {{ . }}]}
  periodSeconds: 10
  timeoutSeconds: 10
  failureThreshold: 18
livenessProbe:
  exec: {command: [python, -m, opslib.alive, {{ . }}]}
  periodSeconds: 60
  timeoutSeconds: 10
  failureThreshold: 3
{{- end }}

{{- define "runbooks.placement" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
