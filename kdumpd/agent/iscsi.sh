# shellcheck shell=sh
# Disks behind an iSCSI session: the agent logs in once more, with the words that the crashed system used.

# log_in_to_iscsi FILE: the file holds quoted assignments of iscsi_*. What is secret in them is given to iscsistart
# alone, and said nowhere. The session stays with the kernel when iscsistart has ended.
log_in_to_iscsi() {
    logged_in=$run/logged-in-${1##*/}
    [ ! -e "$logged_in" ] || return 0
    (
        # shellcheck source=iscsi.words
        . "$root$1"
        set -- -i "$iscsi_initiator" -t "$iscsi_target" -g "$iscsi_portal_group" -a "$iscsi_address" -p "$iscsi_port"
        [ -z "$iscsi_user" ] || set -- "$@" -u "$iscsi_user" -w "$iscsi_password"
        [ -z "$iscsi_user_in" ] || set -- "$@" -U "$iscsi_user_in" -W "$iscsi_password_in"
        exec iscsistart "$@"
    ) && : >"$logged_in"
}
