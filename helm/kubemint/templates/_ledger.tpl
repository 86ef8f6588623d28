{{/* Where the record is, who signs it and who watches it: the settings, and what the pod needs for them. */}}

{{- define "kubemint.usesPostgres" -}}
{{- if .Values.ledger.postgres.url }}yes{{ end -}}
{{- end }}

{{/* The address as the service reads it: with the CA by which the server is known. */}}
{{- define "kubemint.ledgerUrl" -}}
{{- $postgres := .Values.ledger.postgres -}}
{{- if not $postgres.url -}}
sqlite:////var/lib/kubemint/ledger.db
{{- else if $postgres.caConfigMap.name -}}
{{- $postgres.url }}{{ if contains "?" $postgres.url }}&{{ else }}?{{ end }}sslrootcert=/run/kubemint/database-ca/ca.crt
{{- else -}}
{{- $postgres.url -}}
{{- end -}}
{{- end }}

{{- define "kubemint.ledgerSettings" }}
ledger:
  url: {{ include "kubemint.ledgerUrl" . | quote }}
  {{- if .Values.ledger.postgres.passwordSecret.name }}
  passwordFile: /run/kubemint/database/password
  {{- end }}
  {{- range $name := list "lockWait" "statementTimeout" "retention" }}
  {{- with get $.Values.ledger $name }}
  {{ $name }}: {{ . | quote }}
  {{- end }}
  {{- end }}
  {{- if .Values.ledger.archive.existingClaim }}
  archive: /var/lib/kubemint-archive
  {{- end }}
{{- end }}

{{- define "kubemint.logSettings" }}
log:
  key: file:/run/kubemint/log/log.key
  {{- if .Values.log.passphraseKey }}
  passphraseFile: /run/kubemint/log/passphrase
  {{- end }}
  origin: {{ required "log.origin: name the log, for ever, such as mint.example/log" .Values.log.origin | quote }}
  {{- with .Values.log.formerKeys }}
  formerKeys:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  public: {{ .Values.log.public }}
  {{- with .Values.log.witnesses }}
  witnesses:
    {{- range $number, $witness := . }}
    {{- $written := omit $witness "certificateAuthority" }}
    {{- if .certificateAuthority }}
    {{- $_ := set $written "caFile" (printf "/run/kubemint/watchers/witness-%d.crt" $number) }}
    {{- end }}
    {{- list $written | toYaml | nindent 4 }}
    {{- end }}
  {{- end }}
  {{- with .Values.log.anchors }}
  anchors:
    {{- range $number, $anchor := . }}
    {{- $written := omit $anchor "certificateAuthority" "existingClaim" }}
    {{- if .existingClaim }}
    {{- $_ := set $written "file" (printf "/var/lib/kubemint-anchors/%d/checkpoint" $number) }}
    {{- end }}
    {{- if .certificateAuthority }}
    {{- $_ := set $written "caFile" (printf "/run/kubemint/watchers/anchor-%d.crt" $number) }}
    {{- end }}
    {{- list $written | toYaml | nindent 4 }}
    {{- end }}
  {{- end }}
{{- end }}

{{/* CAs by which witnesses and anchors are known. */}}
{{- define "kubemint.watcherSources" -}}
{{- range $kind := list "witness" "anchor" }}
{{- range $number, $watcher := get $.Values.log (ternary "witnesses" "anchors" (eq $kind "witness")) }}
{{- with .certificateAuthority }}
- configMap:
    name: {{ .existingConfigMap | quote }}
    items:
      - {key: {{ default "ca.crt" .key | quote }}, path: {{ $kind }}-{{ $number }}.crt}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Ports of the database, the witnesses and the anchors that the pod may reach, separated by commas. */}}
{{- define "kubemint.ledgerPorts" -}}
{{- $ports := list -}}
{{- if and .Values.networkPolicy.allowDatabase (include "kubemint.usesPostgres" .) -}}
{{- $url := urlParse .Values.ledger.postgres.url -}}
{{- $written := regexFind ":[0-9]+$" $url.host | default (regexFind "(^|&)port=[0-9]+" $url.query) -}}
{{- $ports = append $ports (regexFind "[0-9]+$" $written | default "5432") -}}
{{- end -}}
{{- if .Values.networkPolicy.allowWitnesses -}}
{{- range concat .Values.log.witnesses .Values.log.anchors -}}
{{- with .url -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" (get (urlParse .) "host") | trimPrefix ":" | default "443") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $ports | uniq | sortAlpha | join "," -}}
{{- end }}

{{/* What `kubemint ledger migrate` reads and writes, and `kubemint serve` too. */}}
{{- define "kubemint.ledgerMounts" -}}
- {name: configuration, mountPath: /etc/kubemint, readOnly: true}
- {name: log, mountPath: /run/kubemint/log, readOnly: true}
{{- if .Values.ledger.postgres.passwordSecret.name }}
- {name: database, mountPath: /run/kubemint/database, readOnly: true}
{{- end }}
{{- if .Values.ledger.postgres.caConfigMap.name }}
- {name: database-ca, mountPath: /run/kubemint/database-ca, readOnly: true}
{{- end }}
{{- if .Values.authentication.certificates }}
- {name: requesters, mountPath: /run/kubemint/requesters, readOnly: true}
{{- end }}
{{- if include "kubemint.watcherSources" . }}
- {name: watchers, mountPath: /run/kubemint/watchers, readOnly: true}
{{- end }}
{{- if .Values.cluster.server }}
- {name: cluster, mountPath: /run/kubemint/cluster, readOnly: true}
{{- end }}
{{- if not (include "kubemint.usesPostgres" .) }}
- {name: ledger, mountPath: /var/lib/kubemint}
{{- end }}
{{- if .Values.ledger.archive.existingClaim }}
- {name: archive, mountPath: /var/lib/kubemint-archive}
{{- end }}
{{- range $number, $anchor := .Values.log.anchors }}
{{- if .existingClaim }}
- {name: anchor-{{ $number }}, mountPath: /var/lib/kubemint-anchors/{{ $number }}}
{{- end }}
{{- end }}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "kubemint.ledgerVolumes" -}}
- name: log
  secret:
    secretName: {{ required "log.existingSecret: name the Secret that holds the Ed25519 key which signs the log" .Values.log.existingSecret | quote }}
    defaultMode: 0440
    items:
      - {key: {{ .Values.log.privateKeyKey | quote }}, path: log.key}
      {{- with .Values.log.passphraseKey }}
      - {key: {{ . | quote }}, path: passphrase}
      {{- end }}
{{- with .Values.ledger.postgres.passwordSecret }}
{{- if .name }}
- name: database
  secret:
    secretName: {{ .name | quote }}
    defaultMode: 0440
    items:
      - {key: {{ .key | quote }}, path: password}
{{- end }}
{{- end }}
{{- with .Values.ledger.postgres.caConfigMap }}
{{- if .name }}
- name: database-ca
  configMap:
    name: {{ .name | quote }}
    items:
      - {key: {{ .key | quote }}, path: ca.crt}
{{- end }}
{{- end }}
{{- with include "kubemint.watcherSources" . | trim }}
- name: watchers
  projected:
    sources:
      {{- . | nindent 6 }}
{{- end }}
{{- if not (include "kubemint.usesPostgres" .) }}
- name: ledger
  persistentVolumeClaim:
    claimName: {{ include "kubemint.claimName" . | quote }}
{{- end }}
{{- with .Values.ledger.archive.existingClaim }}
- name: archive
  persistentVolumeClaim:
    claimName: {{ . | quote }}
{{- end }}
{{- range $number, $anchor := .Values.log.anchors }}
{{- with .existingClaim }}
- name: anchor-{{ $number }}
  persistentVolumeClaim:
    claimName: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
