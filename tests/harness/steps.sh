# Announces and times the steps of a script. Source this in a bash script.
#
#   steps_total=8
#   step 'the shim' cargo build     says "[3/8] the shim", runs the command, and returns its exit code
#   steps_took                      prints the seconds of each step so far
# shellcheck shell=bash

step_lines=()

step() {
    local label=$1 began=$SECONDS code=0
    shift
    printf '\n[%d/%d] %s\n' "$((${#step_lines[@]} + 1))" "${steps_total:?}" "$label"
    "$@" || code=$?
    step_lines+=("$(printf '%6d s  %s' "$((SECONDS - began))" "$label")")
    ((code == 0)) || echo "${0##*/}: '$label' failed with exit code $code after $((SECONDS - began)) s" >&2
    return "$code"
}

steps_took() {
    printf '\nTime taken:\n'
    printf '%s\n' "${step_lines[@]}"
    printf '%6d s  in all\n' "$SECONDS"
}
