# shellcheck shell=sh
# For scripts that fetch Debian's packages without touching the machine: its own archives, of any suite, with an apt state
# of the script's. To be sourced; `work` is the folder where that state and all else that is in the making lies.

# What the sourcing script sets.
: "${work=}"

# The machine's sources that are Debian's own archive, one a line: URI, a tab, the keyring or nothing.
# Other publishers' sources are left out: they do not hold the suite.
archives() {
    parts=${CATAMARAN_APT_SOURCES:-/etc/apt}
    for file in "$parts"/sources.list.d/*.sources; do
        [ -f "$file" ] && cat "$file" && echo
    done | awk '
        function flush() {
            n = split(uris, list, " ")
            if (on && tolower(types) ~ /(^| )deb( |$)/ && components ~ /(^| )main( |$)/)
                for (i = 1; i <= n; i++) print list[i] "\t" key
            on = 1; types = uris = components = key = field = ""
        }
        BEGIN { on = 1 }
        /^#/ { next }
        /^[ \t]*$/ { flush(); next }
        /^[ \t]/ { if (field == "uris") uris = uris " " $0; else if (field == "signed-by") key = "inline"; next }
        {
            field = tolower($0); sub(/:.*/, "", field)
            value = $0; sub(/^[^:]*:[ \t]*/, "", value)
            if (field == "types") types = value
            if (field == "uris") uris = value
            if (field == "components") components = value
            if (field == "signed-by") key = value
            if (field == "enabled" && tolower(value) == "no") on = 0
        }
        END { flush() }' >"$work/sources"
    for file in "$parts"/sources.list "$parts"/sources.list.d/*.list; do
        [ -f "$file" ] && cat "$file" && echo
    done | awk '
        $1 == "deb" && / main( |$)/ {
            key = ""; line = $0
            if (match(line, /\[[^]]*\]/)) {
                n = split(substr(line, RSTART + 1, RLENGTH - 2), options, " ")
                for (i = 1; i <= n; i++) if (options[i] ~ /^signed-by=/) key = substr(options[i], 11)
                line = substr(line, 1, RSTART - 1) substr(line, RSTART + RLENGTH)
            }
            split(line, word, " ")
            print word[2] "\t" key
        }' >>"$work/sources"
    awk -F '\t' '
        { path = $1; sub(/\/+$/, "", path) }
        path ~ /security/ { next }
        $2 ~ /debian-archive-keyring/ || ($2 == "" && path ~ /\/debian(\/[0-9TZ]+)?$/) {
            if (!seen[path]++) print path "\t" $2
            # A dated snapshot may be older than the suite; the same host has the archive of today beside it.
            if (sub(/\/archive\/debian\/[0-9TZ]+$/, "/debian", path) && !seen[path]++) print path "\t" $2
        }' "$work/sources"
}

# apt with a state of its own.
private() {
    program=$1
    shift
    "$program" -qq \
        -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/sources.d" \
        -o Dir::State::Lists="$work/lists" -o Dir::State::status=/dev/null -o Dir::Cache="$work/cache" \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
        -o APT::Default-Release= -o APT::Sandbox::User="$(id -un)" \
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
        -o Acquire::Retries=3 "$@"
}

candidate() { private apt-cache policy "$1" | sed -n 's/^ *Candidate: *//p'; }

# open_archive URI KEYRING SUITE...: apt's state for these suites of one archive, and none of another's. False when the
# archive does not have them.
open_archive() {
    uri=$1 key=$2
    shift 2
    rm -rf "$work/sources.d" "$work/lists" "$work/cache" "$work/debs"
    mkdir -p "$work/sources.d" "$work/lists/partial" "$work/cache/archives/partial" "$work/debs"
    {
        echo "Types: deb"
        echo "URIs: $uri"
        echo "Suites: $*"
        echo "Components: main"
        [ -z "$key" ] || echo "Signed-By: $key"
    } >"$work/sources.d/archive.sources"
    private apt-get update >&2
}
