{{/* What values.schema.json cannot say, or cannot say in a sentence that helps. */}}

{{- define "kubemint.refusals" -}}
{{- if ne (int .Values.replicas) 1 -}}
{{- fail "replicas must be 1: the ledger is a SQLite file, and only one pod may write it" -}}
{{- end -}}
{{- if not (or .Values.authentication.tokens.existingSecret .Values.authentication.certificates) -}}
{{- fail "authentication: set tokens.existingSecret or certificates, or else nobody can prove who they are" -}}
{{- end -}}
{{- end }}
