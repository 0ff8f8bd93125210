#!/bin/sh
# Removes a lab: processes, namespaces, mount, directory. Starts when its standard input ends, that is when the
# owner closes the pipe or dies, however it dies; "keep" on standard input calls it off.
# Arguments: prefix of the namespaces, directory of the lab.
trap '' INT TERM HUP PIPE
prefix=$1
directory=$2

if read -r word && [ "$word" = keep ]; then
    exit 0
fi

pids() {
    for file in /run/netns/"$prefix"*; do
        [ -e "$file" ] && ip netns pids "${file##*/}" 2>/dev/null
    done
}

# More than once: a process may fork while its parent is being killed.
round=0
while found=$(pids) && [ -n "$found" ] && [ $round -lt 100 ]; do
    kill -9 $found 2>/dev/null
    round=$((round + 1))
    [ $round -gt 1 ] && sleep 0.02
done

# Control groups of guests; a process that was killed holds its group for a moment.
while read -r _ at type _; do
    [ "$type" = cgroup2 ] || continue
    round=0
    for group in "$at/$prefix"*; do
        while [ -d "$group" ] && [ $round -lt 100 ]; do
            find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null
            round=$((round + 1))
            [ -d "$group" ] && sleep 0.02
        done
    done
    break
done </proc/self/mounts

# Errors are not shown here: another lab's clean-up may be at the same leftovers. What counts is what is left.
for file in /run/netns/"$prefix"*; do
    [ -e "$file" ] && ip netns delete "${file##*/}" 2>/dev/null
done
if [ -d "$directory/bpf" ]; then
    umount "$directory/bpf" 2>/dev/null || umount -l "$directory/bpf" 2>/dev/null
fi
rm -rf "$directory" 2>/dev/null
# Of all labs; not empty while another is up.
rmdir "${directory%/*}" 2>/dev/null

left=
for file in /run/netns/"$prefix"* "$directory"; do
    [ -e "$file" ] && left="$left $file"
done
[ -z "$left" ] && exit 0
echo "lab: cannot remove$left" >&2
exit 1
