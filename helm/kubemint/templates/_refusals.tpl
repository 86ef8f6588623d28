{{/* What values.schema.json cannot say, or cannot say in a sentence that helps. */}}

{{- define "kubemint.refusals" -}}
{{- if lt (int .Values.replicas) 1 -}}
{{- fail "replicas must be 1 or more" -}}
{{- end -}}
{{- include "kubemint.ledgerRefusals" . -}}
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
{{- range .Values.webhook.clients -}}
{{- $client := .certificate -}}
{{- $known := list -}}
{{- range $.Values.authentication.certificates -}}{{- $known = append $known .name -}}{{- end -}}
{{- if not (has $client $known) -}}
{{- fail (printf "webhook.clients: %s is none of authentication.certificates" $client) -}}
{{- end -}}
{{- end -}}
{{- if and (include "kubemint.inCluster" .) .Values.rbac.create (eq (include "kubemint.serviceAccountName" .) "default") -}}
{{- fail "serviceAccount: the account `default` is every pod's, and would get the right to review tokens: set create or name, or rbac.create: false" -}}
{{- end -}}
{{- end }}

{{- define "kubemint.ledgerRefusals" -}}
{{- $postgres := .Values.ledger.postgres -}}
{{- if not $postgres.url -}}
{{- if ne (int .Values.replicas) 1 -}}
{{- fail "replicas must be 1: the ledger is a SQLite file, and only one pod may write it. More need ledger.postgres" -}}
{{- end -}}
{{- if or $postgres.passwordSecret.name $postgres.caConfigMap.name -}}
{{- fail "ledger.postgres: there is no url that passwordSecret and caConfigMap could be for" -}}
{{- end -}}
{{- else -}}
{{- if .Values.ledger.sqlite.existingClaim -}}
{{- fail "ledger: with postgres.url the record is not in a file: take sqlite.existingClaim away" -}}
{{- end -}}
{{- if contains ":" (get (urlParse $postgres.url) "userinfo") -}}
{{- fail "ledger.postgres.url holds a password: put it into a Secret and name that in passwordSecret" -}}
{{- end -}}
{{- $query := get (urlParse $postgres.url) "query" -}}
{{- if and $postgres.caConfigMap.name (contains "sslrootcert=" $query) -}}
{{- fail "ledger.postgres: the url has an sslrootcert, and caConfigMap names another" -}}
{{- end -}}
{{- if not (or $postgres.caConfigMap.name (regexMatch "(^|&)ssl(rootcert|mode)=" $query)) -}}
{{- fail "ledger.postgres: name the CA of the server in caConfigMap, by which it proves who it is" -}}
{{- end -}}
{{- end -}}
{{- range $number, $anchor := .Values.log.anchors -}}
{{- if eq (empty .url) (empty .existingClaim) -}}
{{- fail (printf "log.anchors: number %d must have one of url and existingClaim" $number) -}}
{{- end -}}
{{- if and .certificateAuthority .existingClaim -}}
{{- fail (printf "log.anchors: number %d is a file, which no certificateAuthority vouches for" $number) -}}
{{- end -}}
{{- end -}}
{{- end }}
