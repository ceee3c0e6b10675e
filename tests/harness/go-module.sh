# shellcheck shell=sh
# Functions for scripts that build programs from Go modules, with the machine's own configuration of Go. Source this; `work` is the folder
# for temporary files.

# The sourcing script sets this.
: "${work=}"

# module_folder MODULE@VERSION: prints the module's folder, which is read-only.
module_folder() {
    mkdir -p "$work/empty"
    printf 'module empty\n' >"$work/empty/go.mod"
    module_answer=$(cd "$work/empty" && go mod download -json "$1") || true
    module_dir=$(echo "$module_answer" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')
    if [ ! -d "$module_dir" ]; then
        echo "$module_answer" | sed -n 's/^\t"Error": "\(.*\)",*$/go: \1/p' >&2
        echo "the module $1 could not be fetched: look at go's messages above" >&2
        return 1
    fi
    echo "$module_dir"
}

# module_copy MODULE@VERSION FOLDER: makes FOLDER a copy of the module, to build in.
module_copy() {
    module_from=$(module_folder "$1") || return 1
    cp -r "$module_from" "$2"
    chmod -R u+w "$2"
}
