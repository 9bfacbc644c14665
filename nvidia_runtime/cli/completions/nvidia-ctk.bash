# SPDX-License-Identifier: Apache-2.0
# bash completion of nvidia-ctk: it answers itself what may stand at the cursor.
_nvidia_ctk() {
  local line=${COMP_LINE:0:COMP_POINT} words cur head
  read -ra words <<<"$line"
  case $line in *[[:space:]]) words+=("") ;; esac
  cur=${words[${#words[@]} - 1]}
  head=${cur%"${cur##*[=:]}"} # bash completes what is behind it
  mapfile -t COMPREPLY < <("$1" __complete "${words[@]:1}" 2>/dev/null)
  COMPREPLY=("${COMPREPLY[@]%%$'\t'*}")
  case ${COMPREPLY[0]-} in
    :files) compopt -o filenames && mapfile -t COMPREPLY < <(compgen -f -- "${cur#"$head"}") ;;
    :folders) compopt -o filenames && mapfile -t COMPREPLY < <(compgen -d -- "${cur#"$head"}") ;;
    *=) compopt -o nospace ;;&
    *) COMPREPLY=("${COMPREPLY[@]#"$head"}") ;;
  esac
}
complete -F _nvidia_ctk nvidia-ctk
