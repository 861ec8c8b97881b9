_evsctl_completion() {
    local line=${COMP_LINE:0:COMP_POINT} found value begun
    begun=${line##*[[:space:]]}
    [[ $begun == --*=* ]] && begun=${begun#*=}
    begun=${begun%"${begun##*[:=]}"}
    COMPREPLY=()
    while IFS= read -r found; do
        value=${found#*,}
        case ${found%%,*} in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                printf -v value %q "$value"
                COMPREPLY+=("${value#"$begun"}")
                ;;
        esac
    done < <(COMP_WORDS=$line _EVSCTL_COMPLETE=bash_complete "$1" 2>/dev/null)
}

complete -o nosort -F _evsctl_completion evsctl
