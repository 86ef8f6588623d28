{{/* What values.schema.json cannot say, or cannot say in a sentence that helps. */}}

{{- define "kubemint.refusals" -}}
{{- if ne (int .Values.replicas) 1 -}}
{{- fail "replicas must be 1: the ledger is a SQLite file, and only one pod may write it" -}}
{{- end -}}
{{- with .Values.authentication -}}
{{- if not (or .tokens.existingSecret .certificates .oidc .kubernetes) -}}
{{- fail "authentication: set tokens.existingSecret, certificates, oidc or kubernetes, or else nobody can prove who they are" -}}
{{- end -}}
{{- range $kind := list "certificates" "oidc" "kubernetes" -}}
{{- $names := list -}}
{{- range get $.Values.authentication $kind -}}
{{- if has .name $names -}}
{{- fail (printf "authentication.%s: two are named %s, and the policy tells them apart by the name" $kind .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}
{{- range .oidc -}}
{{- if and .keys (or .certificateAuthority .jwksUri) -}}
{{- fail (printf "authentication.oidc: %s has keys, so nothing is fetched: take certificateAuthority and jwksUri away" .name) -}}
{{- end -}}
{{- end -}}
{{- range .kubernetes -}}
{{- if ne 1 (len (compact (list .inCluster .kubeconfig .keys))) -}}
{{- fail (printf "authentication.kubernetes: %s must have one of inCluster: true, kubeconfig and keys" .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (include "kubemint.inCluster" .) .Values.rbac.create (eq (include "kubemint.serviceAccountName" .) "default") -}}
{{- fail "serviceAccount: the account `default` is every pod's, and would get the right to review tokens: set create or name, or rbac.create: false" -}}
{{- end -}}
{{- end }}
