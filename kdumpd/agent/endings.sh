# shellcheck shell=sh
# Hooks, and how it ends: every path through the agent comes to `finish`.

# run_hooks PROGRAM...: in order; the first that fails ends it, with its status. One that hangs has failed.
run_hooks() {
    for hook in "$@"; do
        [ -n "$hook" ] || continue
        say "running $hook${hook_argument:+ $hook_argument}"
        look_at_clock
        hook_began=$now
        hook_late=
        bounded "$plan_hook_timeout" "$root$hook" ${hook_argument:+"$hook_argument"} </dev/null
        hook_status=$?
        if [ "$hook_status" -ne 0 ]; then
            look_at_clock
            [ "$plan_hook_timeout" -eq 0 ] || [ $((now - hook_began)) -lt $((plan_hook_timeout * 100)) ] ||
                hook_late=", being ended after $plan_hook_timeout s"
            say "$hook ended with $hook_status$hook_late"
            return "$hook_status"
        fi
    done
}

# run_all_hooks PROGRAM...: a failing one does not keep the others from running.
run_all_hooks() {
    for each; do
        run_hooks "$each"
    done
    return 0
}

run_pre_hooks() {
    hook_argument=
    { eval "run_hooks $plan_pre_d" && run_hooks "$plan_kdump_pre"; } ||
        fail "$hook ended with $hook_status$hook_late, so there is no dump"
}

# run_post_hooks STATUS: each is told how the dump went.
run_post_hooks() {
    hook_argument=$1
    eval "run_all_hooks $plan_post_d"
    run_all_hooks "$plan_kdump_post"
}

run_emergency_hooks() {
    hook_argument=
    eval "run_all_hooks $plan_emergency_d"
    run_all_hooks "$plan_kdump_emergency"
}

# finish reboot|halt|poweroff: does not return.
finish() {
    trap - EXIT
    say "$1"
    bounded 60 sync
    leave_target
    # The data is on the disk, or the disk is dead: neither wants another sync.
    case $1 in
    halt) halt -n -f ;;
    poweroff) poweroff -n -f ;;
    *) reboot -n -f ;;
    esac
    say "$1 did not happen, asking the kernel"
    case $1 in
    halt)
        # There is no such key; standing still is what was asked for.
        while :; do sleep 3600; done
        ;;
    poweroff) printf o >"$root/proc/sysrq-trigger" && sleep 10 ;;
    esac
    printf b >"$root/proc/sysrq-trigger"
    sleep 10
    # The end of PID 1 is a panic, and panic= on the command line a reboot.
    exit 1
}

# The net under everything: an error of sh itself, such as a damaged plan.env, comes here.
unforeseen_end() {
    say "the agent ended unforeseen at $step"
    finish "${plan_final_action:-reboot}"
}

open_shell() {
    say "a shell, as failure_action asks; leave it for: $plan_final_action"
    sh -i
}
