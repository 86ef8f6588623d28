{{/* Whose tokens count, and what the pod needs for that. Each answers with a text; an empty one means no or none. */}}

{{- define "kubemint.inCluster" -}}
{{- range .Values.authentication.kubernetes }}{{ if .inCluster }}yes{{ end }}{{ end -}}
{{- end }}

{{- define "kubemint.usesKubeconfig" -}}
{{- range .Values.authentication.kubernetes }}{{ if .kubeconfig }}yes{{ end }}{{ end -}}
{{- end }}

{{/* Ports of the token issuers that keys are fetched from, separated by commas. */}}
{{- define "kubemint.issuerPorts" -}}
{{- $ports := list -}}
{{- range .Values.authentication.oidc -}}
{{- if not .keys -}}
{{- $host := get (urlParse (default .issuer .jwksUri)) "host" -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" $host | trimPrefix ":" | default "443") -}}
{{- end -}}
{{- end -}}
{{- $ports | uniq | sortAlpha | join "," -}}
{{- end }}

{{/* The public half of the mounted files: CAs and keys. Names are unique in each list, and so are the paths. */}}
{{- define "kubemint.identitySources" -}}
{{- range $issuer := .Values.authentication.oidc }}
{{- with .certificateAuthority }}
- configMap:
    name: {{ .existingConfigMap | quote }}
    items:
      - {key: {{ default "ca.crt" .key | quote }}, path: oidc-{{ $issuer.name }}.crt}
{{- end }}
{{- with .keys }}
- configMap:
    name: {{ .existingConfigMap | quote }}
    items:
      - {key: {{ default "jwks.json" .key | quote }}, path: oidc-{{ $issuer.name }}.jwks}
{{- end }}
{{- end }}
{{- range $cluster := .Values.authentication.kubernetes }}
{{- with .keys }}
- configMap:
    name: {{ .existingConfigMap | quote }}
    items:
      - {key: {{ default "sa.pub" .key | quote }}, path: kubernetes-{{ $cluster.name }}.keys}
{{- end }}
{{- end }}
{{- end }}

{{/* Egress rules, by what is configured. */}}
{{- define "kubemint.egress" -}}
{{- $ports := "" -}}
{{- if .Values.networkPolicy.allowTokenIssuers -}}
{{- $ports = include "kubemint.issuerPorts" . -}}
{{- end -}}
{{- $ports = list $ports (include "kubemint.ledgerPorts" .) | compact | join "," -}}
{{- $kubeconfig := include "kubemint.usesKubeconfig" . -}}
{{- if or .Values.networkPolicy.allowDNS $ports $kubeconfig }}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
  ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- end }}
{{- /* Without `to`: some plugins do not count nodes and API servers among the addresses of an ipBlock. */}}
{{- with $ports }}
- ports:
    {{- range splitList "," . | uniq | sortAlpha }}
    - port: {{ . }}
      protocol: TCP
    {{- end }}
{{- end }}
{{- if or $kubeconfig (include "kubemint.inCluster" .) }}
{{- with .Values.networkPolicy.apiServerPorts }}
- ports:
    {{- range . }}
    - port: {{ int . }}
      protocol: TCP
    {{- end }}
{{- end }}
{{- end }}
{{- with .Values.networkPolicy.egress }}
{{ toYaml . }}
{{- end }}
{{- end }}
