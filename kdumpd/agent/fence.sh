# shellcheck shell=sh
# The cluster is told that this machine captures a crash, so that nobody switches it off meanwhile.

# In the background and for as long as this kernel runs: the nodes want to hear it again and again.
tell_cluster() {
    [ -n "$plan_fence" ] || return 0
    begin_step fence "telling the cluster"
    eval "send_in_background $plan_fence"
}

send_in_background() {
    sender=$1
    shift
    say "running $sender $* in the background"
    "$root$sender" "$@" </dev/null &
}
