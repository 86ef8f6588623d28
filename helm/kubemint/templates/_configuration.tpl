{{/* The two files in the ConfigMap: kubemint.yaml and policy.yaml. The paths are those that deployment.yaml mounts. */}}

{{- define "kubemint.configuration" -}}
apiVersion: kubemint/v1
kind: Configuration
server:
  listen: 0.0.0.0:8443
  tls:
    certificateFile: /run/kubemint/tls/tls.crt
    keyFile: /run/kubemint/tls/tls.key
  workers: {{ int .Values.server.workers }}
  threads: {{ int .Values.server.threads }}
  pinWorkers: {{ .Values.server.pinWorkers }}
issuer:
  certificateFile: /run/kubemint/ca/ca.crt
  key: file:/run/kubemint/ca/ca.key
  {{- if .Values.issuer.passphraseKey }}
  passphraseFile: /run/kubemint/ca/passphrase
  {{- end }}
policyFile: policy.yaml
authentication:
  {{- if .Values.authentication.tokens.existingSecret }}
  tokensFile: /run/kubemint/tokens/tokens.yaml
  {{- end }}
  {{- with .Values.authentication.certificates }}
  certificates:
    {{- range . }}
    - name: {{ .name | quote }}
      caFile: /run/kubemint/requesters/{{ .name }}.crt
    {{- end }}
  {{- end }}
  {{- with .Values.authentication.oidc }}
  oidc:
    {{- range . }}
    {{- $issuer := omit . "certificateAuthority" "keys" }}
    {{- if .certificateAuthority }}
    {{- $_ := set $issuer "caFile" (printf "/run/kubemint/identities/oidc-%s.crt" .name) }}
    {{- end }}
    {{- if .keys }}
    {{- $_ := set $issuer "keysFile" (printf "/run/kubemint/identities/oidc-%s.jwks" .name) }}
    {{- end }}
    {{- list $issuer | toYaml | nindent 4 }}
    {{- end }}
  {{- end }}
  {{- with .Values.authentication.kubernetes }}
  kubernetes:
    {{- range . }}
    {{- $cluster := omit . "kubeconfig" "keys" }}
    {{- if .kubeconfig }}
    {{- $_ := set $cluster "kubeconfig" (printf "/run/kubemint/kubeconfigs/%s.yaml" .name) }}
    {{- end }}
    {{- if .keys }}
    {{- $_ := set $cluster "keysFile" (printf "/run/kubemint/identities/kubernetes-%s.keys" .name) }}
    {{- end }}
    {{- list $cluster | toYaml | nindent 4 }}
    {{- end }}
  {{- end }}
{{- include "kubemint.ledgerSettings" . }}
{{- include "kubemint.logSettings" . }}
webhook:
  {{- with .Values.webhook.clients }}
  clients:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  unknownCredentials: {{ .Values.webhook.unknownCredentials }}
crl:
  lifetime: {{ .Values.crl.lifetime | quote }}
  {{- with .Values.crl.url }}
  url: {{ . | quote }}
  {{- end }}
{{- with .Values.cluster }}
{{- if .server }}
cluster:
  name: {{ .name | quote }}
  server: {{ .server | quote }}
  certificateAuthorityFile: /run/kubemint/cluster/ca.crt
{{- end }}
{{- end }}
{{- end }}

{{- define "kubemint.policy" -}}
{{- merge (dict "apiVersion" "kubemint/v1" "kind" "Policy") .Values.policy | toYaml -}}
{{- end }}
