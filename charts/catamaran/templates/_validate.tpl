{{/*
What values.schema.json cannot say, or says in no words that help: a pattern. The schema is asked first.
Takes key, value, expected and write.
*/}}
{{- define "catamaran.refuse" -}}
{{- fail (printf "values: %s is %s: expected %s; write %s" .key (toJson .value) .expected .write) }}
{{- end }}

{{- define "catamaran.validate" -}}
{{- $values := .Values }}
{{- $name := "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$" }}
{{- $expected := "at most 63 lower-case letters, digits and dashes, with no dash at either end" }}
{{- if or (not (regexMatch $name $values.handler)) (eq $values.handler "runc") }}
{{- include "catamaran.refuse" (dict "key" "handler" "value" $values.handler "expected" (print $expected ", and not runc") "write" "handler: catamaran") }}
{{- end }}
{{- /* A new name would be a new RuntimeClass and no old one, which pods name. Without a cluster nothing is looked up. */}}
{{- if .Release.IsUpgrade }}
{{- with lookup "v1" "ConfigMap" .Release.Namespace (printf "%s-mode" (include "catamaran.fullname" .)) }}
{{- $handler := dig "metadata" "annotations" "installer.catamaran.wasm/handler" "" . }}
{{- if and $handler (ne $handler $values.handler) }}
{{- include "catamaran.refuse" (dict "key" "handler" "value" $values.handler "expected" (printf "%s, which this release has on its nodes" (toJson $handler)) "write" (printf "handler: %s, or uninstall the release first" $handler)) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $key, $value := dict "runtimeClass.name" $values.runtimeClass.name "nameOverride" $values.nameOverride "fullnameOverride" $values.fullnameOverride }}
{{- if and $value (not (regexMatch $name $value)) }}
{{- include "catamaran.refuse" (dict "key" $key "value" $value "expected" $expected "write" (printf "a name such as wasm, or leave %s empty" $key)) }}
{{- end }}
{{- end }}
{{- range $key, $image := $values.image }}
{{- if and $image.digest (not (regexMatch "^sha256:[0-9a-f]{64}$" $image.digest)) }}
{{- include "catamaran.refuse" (dict "key" (printf "image.%s.digest" $key) "value" $image.digest "expected" "sha256: and 64 hexadecimal digits" "write" "the digest that the release names, or leave it empty and use the tag") }}
{{- end }}
{{- if and $image.tag (not (regexMatch "^[0-9A-Za-z_][-.0-9A-Za-z_]{0,127}$" $image.tag)) }}
{{- include "catamaran.refuse" (dict "key" (printf "image.%s.tag" $key) "value" $image.tag "expected" "a tag: letters, digits, dots, dashes and underscores" "write" (printf "a tag such as %s; a digest belongs into image.%s.digest" $.Chart.AppVersion $key)) }}
{{- end }}
{{- end }}
{{- range $key, $example := dict "containerdSocket" "/run/containerd/containerd.sock" "programsDir" "/opt/catamaran" }}
{{- $value := index $values.installer $key }}
{{- if and $value (not (regexMatch "^/[^\\s]*$" $value)) }}
{{- include "catamaran.refuse" (dict "key" (print "installer." $key) "value" $value "expected" "an absolute path on the node" "write" (printf "a path such as %s, or leave it empty to have it found" $example)) }}
{{- end }}
{{- end }}
{{- with $values.installer.runwasiNames }}
{{- if not (regexMatch "^/[^\\s]*$" .) }}
{{- include "catamaran.refuse" (dict "key" "installer.runwasiNames" "value" . "expected" "an absolute path on the node" "write" "a folder such as /usr/local/bin, or leave it empty to make no links") }}
{{- end }}
{{- end }}
{{- if and $values.installer.unit (not (regexMatch "^[-:_.@\\\\A-Za-z0-9]+\\.service$" $values.installer.unit)) }}
{{- include "catamaran.refuse" (dict "key" "installer.unit" "value" $values.installer.unit "expected" "the full name of a systemd service" "write" "a unit such as containerd.service, or leave it empty to have it found") }}
{{- end }}
{{- $qualified := "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$" }}
{{- range $key := list "readyLabel" "versionLabel" "startupTaint" }}
{{- $value := index $values.labeller $key }}
{{- if and (or $value (ne $key "startupTaint")) (not (regexMatch $qualified $value)) }}
{{- include "catamaran.refuse" (dict "key" (print "labeller." $key) "value" $value "expected" "a key alone, without a value and an effect" "write" "a key such as catamaran.wasm/ready") }}
{{- end }}
{{- end }}
{{- if eq $values.labeller.readyLabel $values.labeller.versionLabel }}
{{- include "catamaran.refuse" (dict "key" "labeller.versionLabel" "value" $values.labeller.versionLabel "expected" "another key than labeller.readyLabel's" "write" "labeller.versionLabel: catamaran.wasm/version") }}
{{- end }}
{{- $engines := include "catamaran.engines" . | fromJsonArray }}
{{- if and $values.installer.runwasiNames (has $values.handler $engines) }}
{{- include "catamaran.refuse" (dict "key" "handler" "value" $values.handler "expected" "another name than those of the engines, since k3s makes handlers of these names because of installer.runwasiNames" "write" "handler: catamaran, or leave installer.runwasiNames empty") }}
{{- end }}
{{- with $values.options.default_engine }}
{{- if not (has . $engines) }}
{{- include "catamaran.refuse" (dict "key" "options.default_engine" "value" . "expected" (print "one of options.allowed_engines, " (toJson $engines)) "write" "one of these, or allow that engine") }}
{{- end }}
{{- end }}
{{- with $values.options.max_module_bytes }}
{{- if gt (int64 .) 536870912 }}
{{- include "catamaran.refuse" (dict "key" "options.max_module_bytes" "value" . "expected" "a number of bytes from 1 to 536870912" "write" "one of these; 134217728 is what holds without it") }}
{{- end }}
{{- end }}
{{- with $values.options.native_runtime }}
{{- if and (contains "/" .) (not (hasPrefix "/" .)) }}
{{- include "catamaran.refuse" (dict "key" "options.native_runtime" "value" . "expected" "the name of a program, or its absolute path on the node" "write" "options.native_runtime: runc, or /usr/bin/crun") }}
{{- end }}
{{- end }}
{{- end }}
