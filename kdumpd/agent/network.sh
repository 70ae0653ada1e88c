# shellcheck shell=sh
# The network towards the servers: cards, links, addresses and routes as the crashed system had them.
#
# The lines of plan_network are done in three rounds: first the cards are awaited and get their names, for a bond
# changes their addresses; then links, addresses and routes are made; after link_delay the neighbours are awaited.
# All of it together has disk_timeout seconds, and no more than 30 where it is not the dump that waits. A line that fails is said and passed over: half of a bond is a bond.

network_fault=
network_is_up=0
network_until=0
cards_grace=10
odd_cards=0

bring_up_network() {
    eval "take_network_lines $plan_network"
}

take_network_lines() {
    network_seconds=$plan_disk_timeout
    [ "$plan_target_needs_network" -eq 1 ] || [ "$network_seconds" -le 30 ] || network_seconds=30
    look_at_clock
    network_until=$((now + network_seconds * 100))
    keep_ipv6_still
    ip_in_time link set dev lo up
    for network_line; do
        case $network_line in await_cards\ *) eval "$network_line" || not_done ;; esac
    done
    for network_line; do
        case $network_line in
        await_cards\ * | await_neighbour\ *) ;;
        ip\ *) bounded 30 eval "$network_line" || not_done ;;
        *) eval "$network_line" || not_done ;;
        esac
    done
    await_settled_addresses
    if [ "$plan_link_delay" -gt 0 ]; then
        say "waiting link_delay, $plan_link_delay s"
        sleep "$plan_link_delay"
    fi
    await_some_neighbour "$@"
    [ "$network_is_up" -eq 0 ] || network_fault=
    [ -z "$network_fault" ]
}

# For whatever needs the network: fails with the reason why there is none.
require_network() {
    [ -n "$network_fault" ] || return 0
    begin_step network "the network did not come up"
    fail "$network_fault"
}

not_done() {
    say "not done: $network_line"
}

# The first reason is the cause.
network_lacks() {
    say "$*"
    [ -n "$network_fault" ] || network_fault=$*
}

ip_in_time() {
    bounded 30 ip "$@"
}

has_network_time() {
    look_at_clock
    [ "$now" -lt "$network_until" ] || return 1
    sleep "$plan_poll_seconds"
}

# Own addresses are known to be ours: no second is lost to asking whether another has them (RFC 4862), and no router
# adds others. What is made later takes after `default`.
keep_ipv6_still() {
    for folder in "$root/proc/sys/net/ipv6/conf"/*; do
        for name in accept_dad dad_transmits accept_ra autoconf; do
            [ ! -w "$folder/$name" ] || echo 0 >"$folder/$name"
        done
    done
}

# await_cards NAME MAC...: the cards with these addresses, each under its name; some are enough after a while.
await_cards() {
    look_at_clock
    some_until=$((now + cards_grace * 100))
    until name_cards "$@"; do
        look_at_clock
        if { [ "$cards_here" -gt 0 ] && [ "$now" -ge "$some_until" ]; } || ! has_network_time; then
            network_lacks "no card with the address$cards_missing came${modules_missing:+; not loaded:$modules_missing}"
            return 1
        fi
    done
}

name_cards() {
    cards_here=0
    cards_missing=
    while [ $# -ge 2 ]; do
        if find_card "$1" "$2"; then
            cards_here=$((cards_here + 1))
            name_card "$card" "$1"
        else
            cards_missing="$cards_missing $2"
        fi
        shift 2
    done
    [ -z "$cards_missing" ]
}

# find_card NAME MAC: sets `card` to the one with that address, of several to the one with that name.
find_card() {
    card=
    for folder in "$root/sys/class/net"/*; do
        [ -r "$folder/address" ] || continue
        ! is_made_of_others "$folder" || continue
        address=
        read -r address <"$folder/address" 2>/dev/null
        [ "$address" = "$2" ] || continue
        card=${folder##*/}
        [ "$card" != "$1" ] || return 0
    done
    [ -n "$card" ]
}

# A bond, vlan or bridge has the address of a card below it.
is_made_of_others() {
    [ -r "$1/uevent" ] || return 1
    while read -r line; do
        case $line in DEVTYPE=bond | DEVTYPE=vlan | DEVTYPE=bridge) return 0 ;; esac
    done <"$1/uevent"
    return 1
}

name_card() {
    [ "$1" != "$2" ] || return 0
    if [ -e "$root/sys/class/net/$2" ]; then
        odd_cards=$((odd_cards + 1))
        ip_in_time link set dev "$2" down
        ip_in_time link set dev "$2" name "other$odd_cards"
    fi
    say "the card $1 is $2"
    ip_in_time link set dev "$1" down
    ip_in_time link set dev "$1" name "$2"
}

# make_link NAME WORD...: as `ip link add name`, also where the module made one of that name by itself (bonding does).
make_link() {
    [ ! -e "$root/sys/class/net/$1" ] || ip_in_time link delete dev "$1"
    ip_in_time link add name "$@"
}

join_link() {
    [ -e "$root/sys/class/net/$2" ] && ip_in_time link set dev "$2" master "$1"
}

own_address() {
    ip_in_time address add "$2" dev "$1"
}

# An IPv6 address is tentative until its link has come up, and nothing is sent from it so long. One whose link never
# comes up is waited for no more than three seconds.
await_settled_addresses() {
    look_at_clock
    settled_until=$((now + 300))
    until addresses_are_settled; do
        look_at_clock
        [ "$now" -lt "$settled_until" ] && has_network_time || return 0
    done
}

addresses_are_settled() {
    [ -r "$root/proc/net/if_inet6" ] || return 0
    while read -r _ _ _ _ address_flags _; do
        # IFA_F_TENTATIVE of linux/if_addr.h.
        [ $((0x$address_flags & 0x40)) -eq 0 ] || return 1
    done <"$root/proc/net/if_inet6"
}

await_carrier() {
    until has_carrier "$1"; do
        if ! has_network_time; then
            network_lacks "there is no carrier on $1"
            return 1
        fi
    done
}

has_carrier() {
    carrier=0
    # The file of a link that is down gives EINVAL.
    [ -r "$root/sys/class/net/$1/carrier" ] && read -r carrier 2>/dev/null <"$root/sys/class/net/$1/carrier"
    [ "$carrier" = 1 ]
}

# One that answers is enough: of several servers or addresses the target tries each.
await_some_neighbour() {
    silent=
    while :; do
        for network_line; do
            case $network_line in
            await_neighbour\ *)
                silent=$network_line
                if eval "$network_line"; then
                    network_is_up=1
                    return 0
                fi
                ;;
            esac
        done
        if [ -z "$silent" ] || ! has_network_time; then break; fi
    done
    # shellcheck disable=SC2086
    set -- $silent
    network_lacks "nobody answers on ${2:-any link}, neither ${4:-a server} nor ${3:-what lies before it}"
}

# await_neighbour LINK NEXT-HOP SERVER: whether the server answers, or else what lies before it on the link: a firewall
# may keep a ping from the server, but nothing passes where the next hop has no address on the wire.
await_neighbour() {
    if ! command -v ping >/dev/null; then
        has_carrier "$1"
        return
    fi
    case $3 in
    fe80:*) bounded 5 ping -c 1 -W 1 -I "$1" "$3" >"$run/ping" 2>&1 && return 0 ;;
    *) bounded 5 ping -c 1 -W 1 "$3" >"$run/ping" 2>&1 && return 0 ;;
    esac
    ip_in_time neigh show dev "$1" >"$run/neighbours" 2>&1
    while read -r neighbour words; do
        case "$neighbour $words" in "$2 "*lladdr*) return 0 ;; esac
    done <"$run/neighbours"
    return 1
}
